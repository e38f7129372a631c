"""The ops for ONNX Runtime's CUDA provider against their formulas: on ONNX Runtime's CPU with an emulated GPU's memory,
and by STYLOGRAM_TEST_CUDA=gpu on a GPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from kernels import emulated
from kernels.convolutions import (
    CONVOLUTIONS,
    LARGE,
    LARGE_TRANSPOSED,
    TRANSPOSED,
    assert_near,
    convolved,
    is_usual,
    places,
    transposed,
    unless_refused,
)
from onnx import TensorProto, helper
from stylogram.devices import sessions
from stylogram.devices.arrays import Queue
from stylogram.devices.graphs import Place
from stylogram.objective import Failed
from stylogram_export.precision import LEAST

ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16, which comes with onnx, is not here")
KINDS = {
    "float32": (np.float32, TensorProto.FLOAT),
    "float16": (np.float16, TensorProto.FLOAT16),
    "bfloat16": (ml_dtypes.bfloat16, TensorProto.BFLOAT16),
}
#: Kernel, strides, pads above, on the left, below and on the right.
WINDOWS = [
    ((2, 2), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (2, 2), (1, 1, 1, 1)),
    ((3, 2), (1, 3), (1, 0, 1, 1)),
    ((5, 5), (3, 4), (2, 1, 2, 2)),
]
SHAPES = [(1, 1, 5, 6), (2, 3, 9, 8), (3, 20, 17, 23)]
if emulated.ON_GPU:
    SHAPES += [(1, 64, 512, 512), (16, 64, 131, 97)]


@pytest.fixture(scope="module")
def place(pytestconfig: pytest.Config) -> Place:
    queue = emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
    if emulated.ON_GPU and sessions.CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built without CUDA")
    return Place("cuda" if emulated.ON_GPU else "host", queue, graphs=False)


def draw(shape: tuple[int, ...], seed: int, dtype: Any) -> Any:
    """Quarters: many are alike."""
    return (np.round(np.random.default_rng(seed).standard_normal(shape) * 4) / 4).astype(dtype)


def upload(queue: Queue, values: Any) -> Any:
    """A type that the queue knows, for bfloat16 its bits."""
    return queue.upload(np.ascontiguousarray(values.view(np.uint16) if values.dtype == ml_dtypes.bfloat16 else values))


def run(place: Place, op: str, arrays: list[Any], shape: tuple[int, ...], kind: str, **words: Any) -> Any:
    """What the op makes of arrays of the host."""
    dtype, number = KINDS[kind]
    return execute(place, op, arrays, np.full(shape, 7, dtype), [number] * (len(arrays) + 1), **words)


def execute(place: Place, op: str, arrays: list[Any], made: Any, types: Sequence[int], **words: Any) -> Any:
    """The op's output, with the shape and type of `made`; `types`: ONNX's, of the arrays and of it."""
    values = {**{f"x{i}": array for i, array in enumerate(arrays)}, "y": made}
    said = [
        helper.make_tensor_value_info(name, number, array.shape)
        for (name, array), number in zip(values.items(), types, strict=True)
    ]
    node = helper.make_node(op, list(values)[:-1], ["y"], domain="stylogram", **words)
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("stylogram", 1)]
    model = helper.make_model(
        helper.make_graph([node], "op", said[:-1], said[-1:]), opset_imports=opsets, ir_version=10
    )
    bound = {
        name: (upload(place.queue, array), number) for (name, array), number in zip(values.items(), types, strict=True)
    }
    sessions._Bound(model, bound, place).run()
    return bound["y"][0].download().view(made.dtype)


def out_size(size: int, kernel: int, stride: int, pads: int) -> int:
    return (size + pads - kernel) // stride + 1


def reference(x: Any, gy: Any, kernel: Any, strides: Any, before: Any, positive: bool) -> tuple[Any, Any]:
    """The pool of x (N,C,H,W), and gx, in float32, by the definition."""
    y, gx = np.full(gy.shape, -np.inf, np.float32), np.zeros(x.shape, np.float32)
    height, width = x.shape[2:]
    for n, c, i, j in np.ndindex(gy.shape):
        top, left = i * strides[0] - before[0], j * strides[1] - before[1]
        best = None
        for a in range(max(top, 0), min(top + kernel[0], height)):
            for b in range(max(left, 0), min(left + kernel[1], width)):
                if x[n, c, a, b] > y[n, c, i, j]:
                    y[n, c, i, j], best = x[n, c, a, b], (a, b)
        if best is not None and (not positive or y[n, c, i, j] > 0):
            gx[(n, c, *best)] += np.float32(gy[n, c, i, j])
    return y, gx


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("kernel", "strides", "pads"), WINDOWS)
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_pools_are_the_formula(
    place: Place, shape: tuple[int, ...], kernel: Any, strides: Any, pads: Any, last: bool, kind: str
) -> None:
    dtype = KINDS[kind][0]
    sizes = [out_size(shape[2 + k], kernel[k], strides[k], pads[k] + pads[2 + k]) for k in range(2)]
    x, gy = draw(shape, 0, dtype), draw((*shape[:2], *sizes), 1, dtype)
    words = {"kernel_shape": kernel, "strides": strides, "before": pads[:2], "channels_last": int(last)}

    def laid(values: Any) -> Any:
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if last else values

    for positive in (False, True):
        y, gx = reference(x, gy, kernel, strides, pads[:2], positive)
        if not positive:
            got = run(place, "CudaMaxPool", [laid(x)], laid(y).shape, kind, sizes=sizes, **words)
            assert (got == laid(y.astype(dtype))).all()
        arrays, wanted = [laid(x), laid(gy)], laid(gx.astype(dtype))
        got = run(place, "CudaMaxPoolGradient", arrays, wanted.shape, kind, positive=int(positive), **words)
        assert (got == wanted).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("kernel", "strides", "pads"), WINDOWS)
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_averages_are_the_formula_and_its_transpose(
    place: Place, shape: tuple[int, ...], kernel: Any, strides: Any, pads: Any, last: bool, kind: str
) -> None:
    dtype = KINDS[kind][0]
    sizes = [out_size(shape[2 + k], kernel[k], strides[k], pads[k] + pads[2 + k]) for k in range(2)]
    x, gy = draw(shape, 0, dtype), draw((*shape[:2], *sizes), 1, dtype)
    y, gx = np.zeros(gy.shape), np.zeros(shape)
    for i, j in np.ndindex(*sizes):
        top, left = i * strides[0] - pads[0], j * strides[1] - pads[1]
        rows, columns = (slice(max(at, 0), at + size) for at, size in zip((top, left), kernel, strict=True))
        y[..., i, j] = x[..., rows, columns].astype(np.float64).sum((2, 3))
        gx[..., rows, columns] += gy[..., i, j, None, None].astype(np.float64)
    words = {"kernel_shape": kernel, "strides": strides, "before": pads[:2], "channels_last": int(last), "scale": 0.75}
    for op, given, made in (("CudaAveragePool", x, y), ("CudaAveragePoolGradient", gy, gx)):
        source, wanted = (
            np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if last else values
            for values in (given, (0.75 * made).astype(dtype))
        )
        got = run(place, op, [source], wanted.shape, kind, sizes=made.shape[2:], **words)
        assert (got == wanted).all()  # quarters: sums are exact


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(2, 8, 6, 8), (1, 16, 5, 7), (3, 24, 4, 9), (1, 64, 7, 16), (2, 5, 9, 24), (2, 12, 8, 6), (2, 8, 7, 1)]
)
def test_pools_of_2x2_have_the_bits_of_those_of_any_window(place: Place, shape: tuple[int, ...], kind: str) -> None:
    """An odd number of channels, last, is left to the kernels for any window: one more here than the others get."""
    (n, c, h, w), dtype = shape, KINDS[kind][0]
    rng, sizes = np.random.default_rng(2), (h // 2, w // 2)
    x, gy = draw((n, h, w, c | 1), 0, dtype), draw((n, *sizes, c | 1), 1, dtype)
    for odd in (np.nan, -np.nan, np.inf, -np.inf):
        x[rng.random(x.shape) < 0.1] = odd
    x[0, :2, :2, :2] = [-np.inf, np.nan]  # no maximum
    gy[rng.random(gy.shape) < 0.1] = np.nan
    tame = np.where(np.isfinite(x), x, np.array(np.nan, dtype))  # sums of one kind of NaN
    windows = {"kernel_shape": (2, 2), "strides": (2, 2), "before": (0, 0)}
    for op, given, made, words in (
        ("CudaMaxPool", [x], gy, {"sizes": sizes}),
        ("CudaMaxPoolGradient", [x, gy], x, {"positive": 0}),
        ("CudaMaxPoolGradient", [x, gy], x, {"positive": 1}),
        ("CudaAveragePool", [tame], gy, {"sizes": sizes, "scale": 0.3}),
        ("CudaAveragePoolGradient", [gy], x, {"sizes": (h, w), "scale": 0.3}),
    ):
        wanted = run(place, op, given, made.shape, kind, **windows, **words, channels_last=1)[..., :c]
        for last, order in ((1, (0, 1, 2, 3)), (0, (0, 3, 1, 2))):
            fewer = [np.ascontiguousarray(values[..., :c].transpose(order)) for values in given]
            one = np.ascontiguousarray(wanted.transpose(order))
            got = run(place, op, fewer, one.shape, kind, **windows, **words, channels_last=last)
            assert got.tobytes() == one.tobytes()


def test_more_planes_than_a_grid_has_rows_of_blocks(place: Place) -> None:
    """With channels first each channel of each picture is a plane: here 65536, one more than fit into a grid's y."""
    x = draw((128, 512, 2, 2), 0, np.float32)
    gy = draw((128, 512, 1, 1), 1, np.float32)
    words = {"kernel_shape": (2, 2), "strides": (2, 2), "before": (0, 0), "channels_last": 0}
    y = run(place, "CudaMaxPool", [x], gy.shape, "float32", sizes=(1, 1), **words)
    assert (y == x.max((2, 3), keepdims=True)).all()
    first = np.zeros((gy.size, 4), np.float32)
    first[np.arange(gy.size), x.reshape(-1, 4).argmax(1)] = gy.ravel()
    gx = run(place, "CudaMaxPoolGradient", [x, gy], x.shape, "float32", positive=0, **words)
    assert (gx == first.reshape(x.shape)).all()
    mean = run(place, "CudaAveragePool", [x], gy.shape, "float32", sizes=(1, 1), scale=0.25, **words)
    assert (mean == x.mean((2, 3), keepdims=True)).all()
    back = run(place, "CudaAveragePoolGradient", [gy], x.shape, "float32", sizes=(2, 2), scale=0.25, **words)
    assert (back == np.broadcast_to(gy / 4, x.shape)).all()


@pytest.mark.skipif(not emulated.ON_GPU, reason="large sizes: STYLOGRAM_TEST_CUDA=gpu asks for a GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES[3:])
def test_large_pools_give_each_gradient_to_one_place(place: Place, shape: tuple[int, ...], kind: str) -> None:
    dtype = KINDS[kind][0]
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32).astype(dtype)
    sizes = (shape[2] // 2, shape[3] // 2)
    words = {"kernel_shape": (2, 2), "strides": (2, 2), "before": (0, 0), "channels_last": 0}
    gy = np.ones((*shape[:2], *sizes), dtype)
    gx = run(place, "CudaMaxPoolGradient", [x, gy], shape, kind, positive=0, **words).astype(np.float32)
    parts = gx[:, :, : 2 * sizes[0], : 2 * sizes[1]].reshape(*shape[:2], sizes[0], 2, sizes[1], 2)
    assert (parts.sum((3, 5)) == 1).all()
    y = run(place, "CudaMaxPool", [x], gy.shape, kind, sizes=sizes, **words)
    chosen = np.where(gx > 0, x.astype(np.float32), 0)[:, :, : 2 * sizes[0], : 2 * sizes[1]]
    assert (chosen.reshape(parts.shape).sum((3, 5)) == y.astype(np.float32)).all()


def test_a_nan_wins_and_takes_no_gradient(place: Place) -> None:
    x = np.array([[[[1, 2, np.nan, 3]]]], np.float32)
    words = {"kernel_shape": (1, 2), "strides": (1, 2), "before": (0, 0), "channels_last": 0}
    y = run(place, "CudaMaxPool", [x], (1, 1, 1, 2), "float32", sizes=(1, 2), **words)
    assert np.isnan(y[..., 1]).all()
    assert y[0, 0, 0, 0] == 2
    ones = np.ones((1, 1, 1, 2), np.float32)
    gx = run(place, "CudaMaxPoolGradient", [x, ones], x.shape, "float32", positive=0, **words)
    assert gx.ravel().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 8, 4099])
def test_the_gradient_of_a_relu_is_the_formula(place: Place, size: int, kind: str) -> None:
    dtype = KINDS[kind][0]
    y, gy, more = (np.random.default_rng(seed).standard_normal(size).astype(dtype) for seed in range(3))
    y[0] = 0
    got = run(place, "CudaReluGradient", [y, gy], (size,), kind)
    assert (got == np.where(y > 0, gy, 0).astype(dtype)).all()
    got = run(place, "CudaReluGradient", [y, gy, more], (size,), kind)
    both = (gy.astype(np.float32) + more.astype(np.float32)).astype(dtype)
    assert (got == np.where(y > 0, both, 0).astype(dtype)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 8, 4, 6), (2, 16, 3, 5), (3, 5, 7, 11)])
def test_a_bias_and_a_relu_are_the_formula(place: Place, shape: tuple[int, ...], last: int, kind: str) -> None:
    dtype = KINDS[kind][0]
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    x.ravel()[-1] = np.nan
    bias = np.random.default_rng(1).standard_normal(shape[3 if last else 1]).astype(dtype)
    sums = x.astype(np.float32) + bias.astype(np.float32).reshape((1, 1, 1, -1) if last else (1, -1, 1, 1))
    wanted = np.where(sums <= 0, 0, sums).astype(dtype)
    got = run(place, "CudaBiasRelu", [x, bias], shape, kind, channels_last=last)
    assert np.array_equal(got.astype(np.float32), wanted.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_and_rounded_as_it_should_be(place: Place, kind: str) -> None:
    dtype = KINDS[kind][0]
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    other = np.random.default_rng(0).permutation(every)
    with np.errstate(all="ignore"):
        both = (every.astype(np.float32) + other.astype(np.float32)).astype(dtype)
    got = run(place, "CudaReluGradient", [np.ones_like(every), every, other], every.shape, kind)
    assert same(got, both).all()
    alone = run(place, "CudaReluGradient", [np.ones_like(every), every], every.shape, kind)
    zero = every.view(np.uint16) == 0x8000  # -0, to which 0 is added
    assert (same(alone, every) | zero).all()


def same(a: Any, b: Any) -> Any:
    """To the bit, or both no number."""
    with np.errstate(invalid="ignore"):
        return (a.view(np.uint16) == b.view(np.uint16)) | (np.isnan(a) & np.isnan(b))


@pytest.mark.skipif(not emulated.ON_GPU, reason="cuDNN computes them: a GPU, or its stand-in (scripts/standin.sh)")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *LARGE])
def test_convolutions_are_the_formula(place: Place, case: Any, kind: str) -> None:
    (k, r, s, c), pads, strides, dilations, groups = case
    rng, dtype = np.random.default_rng(0), KINDS[kind][0]
    x = rng.standard_normal((2, 67, 93, c * groups)).astype(dtype)
    w = (rng.standard_normal((k, r, s, c)) / (r * s * c) ** 0.5).astype(dtype)
    b = rng.standard_normal(k).astype(dtype)
    wide = [torch.from_numpy(values.astype(np.float64)) for values in (x, w, b)]
    first = [values.permute(0, 3, 1, 2) for values in wide[:2]]
    plain = convolved(*first, None, case).permute(0, 2, 3, 1).numpy()
    words = {"pads": pads, "strides": strides, "dilations": dilations}
    biased = plain + b.astype(np.float64)
    for given, relu, wanted in (
        ([x, w], 0, plain), ([x, w, b], 0, biased), ([x, w, b], 1, np.maximum(biased, 0))
    ):  # fmt: skip
        with unless_refused(case):
            got = run(place, "CudaConv", given, wanted.shape, kind, relu=relu, **words)
        assert_near(got.astype(np.float64), wanted, kind)


@pytest.mark.skipif(not emulated.ON_GPU, reason="cuDNN computes them: a GPU, or its stand-in (scripts/standin.sh)")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [*TRANSPOSED, *LARGE_TRANSPOSED])
def test_transposed_convolutions_are_the_formula(place: Place, given: Any, kind: str) -> None:
    case, size = given
    (k, r, s, c), pads, strides, dilations, groups = case
    rng, dtype = np.random.default_rng(0), KINDS[kind][0]
    x = rng.standard_normal((2, *places(case, size)[0], k)).astype(dtype)
    w = (rng.standard_normal((k, r, s, c)) / (r * s * k / groups) ** 0.5).astype(dtype)
    b = rng.standard_normal(c * groups).astype(dtype)
    first = [torch.from_numpy(values.astype(np.float64)).permute(0, 3, 1, 2) for values in (x, w)]
    plain = transposed(*first, None, case, size).permute(0, 2, 3, 1).numpy()
    words = {"pads": pads, "strides": strides, "dilations": dilations, "group": groups, "sizes": size}
    for arrays, wanted in (([x, w], plain), ([x, w, b], plain + b.astype(np.float64))):
        with unless_refused(case):
            got = run(place, "CudaConvTranspose", arrays, wanted.shape, kind, **words)
        assert_near(got.astype(np.float64), wanted, kind)


def test_only_what_no_network_of_ours_has_may_be_left_out() -> None:
    assert not any(is_usual(case) for case in [*CONVOLUTIONS, *[case for case, _ in TRANSPOSED]])
    grouped = [case for case in [*LARGE, *[case for case, _ in LARGE_TRANSPOSED]] if not is_usual(case)]
    assert all(case[-1] > 1 for case in grouped)
    assert len(grouped) == 2
    refusal = Failed("[CudaConv] cuDNN has no engine for x of (2,5,67,93) with its channels last and 8 filters of 3x3")
    for case, problem, raised in (
        (CONVOLUTIONS[0], refusal, pytest.skip.Exception),
        (LARGE[0], refusal, Failed),
        (CONVOLUTIONS[0], Failed("[cudnn] running a convolution: cuDNN says no (5000)"), Failed),
    ):
        with pytest.raises(raised), unless_refused(case):
            raise problem


@pytest.mark.skipif(not emulated.ON_GPU, reason="cuDNN computes them: a GPU asked for by STYLOGRAM_TEST_CUDA=gpu")
@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_is_no_zero_behind_a_relu(place: Place, kind: str) -> None:
    dtype = KINDS[kind][0]
    x, w, b = np.zeros((1, 16, 16, 64), dtype), np.ones((64, 3, 3, 64), dtype), np.zeros(64, dtype)
    x[0, 5, 7, 3] = np.nan
    words = {"pads": [1, 1], "strides": [1, 1], "dilations": [1, 1], "relu": 1}
    y = run(place, "CudaConv", [x, w, b], x.shape, kind, **words).astype(np.float32)
    assert np.isnan(y[0, 4:7, 6:9]).all()
    assert np.isnan(y).sum() == 9 * 64


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (2, 33, 8, 9), (1, 64, 31, 33)])
def test_casts_are_the_formula(place: Place, shape: tuple[int, ...], last: int, kind: str) -> None:
    dtype, number = KINDS[kind]
    more = "BFloat16" if kind == "bfloat16" else ""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    peak = np.random.default_rng(1).random((shape[0], 1, 1, 1)).astype(np.float32) * 9
    peak[-1] = 0  # as if it were LEAST
    unit = np.maximum(peak, np.float32(LEAST))
    x[-1] *= unit[-1]
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    for units, scale in ((None, 3.0), (unit, 16.0)):
        given, types = ([x], [TensorProto.FLOAT]) if units is None else ([x, peak], [TensorProto.FLOAT] * 2)
        one = np.float32(1) if units is None else units
        wanted = np.ascontiguousarray((x * (np.float32(scale) / one)).astype(dtype).transpose(order))
        words = {"channels_last": last, "scale": scale}
        got = execute(place, f"CudaNarrow{more}", given, np.zeros(wanted.shape, dtype), (*types, number), **words)
        assert (got == wanted).all()
        back = (wanted.transpose(0, 3, 1, 2) if last else wanted).astype(np.float32)
        wide = np.ascontiguousarray(back * (np.float32(scale) * one))
        types = [number, *types]
        made = execute(place, f"CudaWiden{more}", [wanted, *given[1:]], np.zeros_like(wide), types, **words)
        assert (made == wide).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 67, 41)])
def test_the_peak_is_the_largest_of_each_picture(place: Place, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) - 1
    x[0, 0, 0, -1] = np.nan if shape[0] > 1 else -3
    each = np.nanmax(np.abs(x), axis=(1, 2, 3), keepdims=True)
    types = (TensorProto.FLOAT, TensorProto.FLOAT)
    for _ in range(2):  # its counters are what they were
        assert (execute(place, "CudaPeak", [x], np.zeros_like(each), types) == each).all()
    before = each * np.array([2.0, 0.5, 1.0], np.float32)[: shape[0]].reshape(-1, 1, 1, 1)
    got = execute(place, "CudaPeak", [x, before], np.zeros_like(each), (*types, TensorProto.FLOAT))
    assert (got == np.maximum(each, before)).all()


def test_other_types_are_refused(place: Place) -> None:
    KINDS["float64"] = (np.float64, TensorProto.DOUBLE)
    with pytest.raises(Exception, match="float32, float16 and bfloat16 are accepted"):
        run(place, "CudaReluGradient", [np.ones(3), np.ones(3)], (3,), "float64")
    del KINDS["float64"]
