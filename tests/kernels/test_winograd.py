"""The op WinogradConv, through ONNX Runtime, against a convolution in float64; what it does before and behind."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from kernels.checks import Doubles, Floats, Tolerance, machine, randoms
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stylogram import _core
from stylogram_export.domain import DOMAIN
from stylogram_export.winograd import OP, packed

SUMS = Tolerance(5e-6, "F(4x4, 3x3) rounds about twice as much as the sum over all weights in float32: 2e-6 at 500")

# N, C, K, H, W, pads. Odd sizes; one tile and many; more filters and channels than a block and a vector; few of both;
# with 260 x 513 and more a thread transforms its own weights.
SHAPES = [
    (1, 3, 64, 20, 20, (1, 1, 1, 1)),
    (2, 5, 7, 9, 13, (1, 1, 1, 1)),
    (1, 64, 3, 33, 70, (0, 2, 1, 0)),
    (3, 16, 30, 4, 5, (2, 2, 2, 2)),
    (1, 1, 1, 1, 1, (1, 1, 1, 1)),
    (1, 8, 8, 3, 3, (0, 0, 0, 0)),
    (1, 17, 65, 40, 133, (1, 1, 1, 1)),
    (2, 260, 513, 17, 9, (1, 1, 1, 1)),
    (1, 512, 256, 68, 70, (1, 0, 2, 3)),
]
SMALL = SHAPES[1:5] + SHAPES[6:7]


def session(
    weight: Floats,
    inputs: Sequence[str],
    outputs: Sequence[str],
    bias: Floats | None = None,
    threads: int = 2,
    **words: Any,
) -> onnxruntime.InferenceSession:
    """A session of one op; inputs of x, where, add and mask; outputs of y, pooled and places."""
    stated: dict[str, Any] = {"pads": [1] * 4, "size": [0, 0], "filters": len(weight), "rectify_input": 0, "rectify": 0}
    stated |= {"spread": "none", "pool": "none", **words}
    given = [name if name in inputs else "" for name in ("where", "add", "mask")]
    made = [name if name in outputs else "" for name in ("y", "pooled", "places")]
    node = helper.make_node(
        OP, ["x", "weights", "bias" if bias is not None else "", *given], made, domain=DOMAIN, **stated
    )
    fixed = [numpy_helper.from_array(packed(weight), "weights")]
    fixed += [] if bias is None else [numpy_helper.from_array(bias, "bias")]

    def value(name: str) -> onnx.ValueInfoProto:
        kind = TensorProto.UINT8 if name in ("where", "places") else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, [None] * 4)

    graph = helper.make_graph([node], "op", [value(name) for name in inputs], [value(name) for name in outputs], fixed)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(_core.__file__)
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(
    weight: Floats, given: dict[str, NDArray[Any]], outputs: Sequence[str] = ("y",), **words: Any
) -> list[NDArray[Any]]:
    made = session(weight, list(given), outputs, **words).run(list(outputs), given)
    return [np.asarray(array) for array in made]


def convolved(x: NDArray[Any], weight: Floats, pads: Sequence[int], bias: Floats | None = None) -> Doubles:
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    height, width = padded.shape[2] - 2, padded.shape[3] - 2
    total = np.zeros((len(x), len(weight), height, width))
    for i, j in itertools.product(range(3), range(3)):
        window = padded[:, :, i : i + height, j : j + width]
        total += np.einsum("nchw,kc->nkhw", window, weight[:, :, i, j].astype(np.float64), optimize=True)
    return total if bias is None else total + bias[None, :, None, None]


def windows(y: NDArray[Any]) -> NDArray[Any]:
    """(N,C,H,W) -> (N,C,H/2,W/2,4)."""
    n, c, height, width = y.shape
    cut = y[:, :, : height // 2 * 2, : width // 2 * 2].reshape(n, c, height // 2, 2, width // 2, 2)
    return cut.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, height // 2, width // 2, 4)


def spread(x: NDArray[Any], shape: Sequence[int], shares: NDArray[Any]) -> Doubles:
    """x (N,C,h,w) times its shares (N,C,h,w,4), each of a window's four pixels one."""
    whole = np.zeros(shape)
    for place in range(4):
        dy, dx = divmod(place, 2)
        whole[:, :, dy : 2 * x.shape[2] : 2, dx : 2 * x.shape[3] : 2] = x * shares[..., place]
    return whole


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("level")
def test_it_is_the_convolution(shape: Any) -> None:
    n, c, k, height, width, pads = shape
    x, weight, bias = randoms(n, c, height, width), randoms(k, c, 3, 3, seed=1), randoms(k, seed=2)
    (y,) = run(weight, {"x": x}, bias=bias, pads=pads)
    expected = convolved(x, weight, pads, bias)
    SUMS.check(y, expected)
    with pytest.raises(AssertionError):
        SUMS.check(y * np.float32(1.001), expected)
    (rectified,) = run(weight, {"x": x}, bias=bias, pads=pads, rectify=1)
    np.testing.assert_array_equal(rectified, np.maximum(y, 0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_for_any_threads_and_in_any_batch(shape: Any) -> None:
    n, c, k, height, width, pads = shape
    x, weight = randoms(n, c, height, width), randoms(k, c, 3, 3, seed=1)
    (y,) = run(weight, {"x": x}, pads=pads)
    for threads in (1, 3):
        np.testing.assert_array_equal(run(weight, {"x": x}, pads=pads, threads=threads)[0], y)
    more = np.concatenate([randoms(1, c, height, width, seed=3), x])
    np.testing.assert_array_equal(run(weight, {"x": more}, pads=pads)[0][1:], y)


@pytest.mark.parametrize("rectify", [0, 1])
@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.usefixtures("level")
def test_pools_behind_it(shape: Any, rectify: int) -> None:
    n, c, k, height, width, pads = shape
    if min(height + pads[0] + pads[2], width + pads[1] + pads[3]) < 4:
        pytest.skip("smaller than a window")
    x, weight = randoms(n, c, height, width), randoms(k, c, 3, 3, seed=1)
    x[:, :, :, : width // 2] = 0  # flat: maxima that tie
    words = {"pads": pads, "rectify": rectify}
    y, pooled, places = run(weight, {"x": x}, ("y", "pooled", "places"), pool="max", **words)
    four = windows(y)
    np.testing.assert_array_equal(pooled, four.max(axis=-1))
    np.testing.assert_array_equal(places, four.argmax(axis=-1) + 4 * (four.max(axis=-1) > 0))
    (alone,) = run(weight, {"x": x}, ("pooled",), pool="max", **words)
    (mean,) = run(weight, {"x": x}, ("pooled",), pool="average", **words)
    np.testing.assert_array_equal(alone, pooled)
    np.testing.assert_allclose(mean, four.astype(np.float64).mean(axis=-1), rtol=0, atol=1e-6 * np.abs(y).max())


@pytest.mark.parametrize("how", ["average", "first", "positive"])
@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.usefixtures("level")
def test_a_pools_gradient_before_it(shape: Any, how: str) -> None:
    n, c, k, height, width, pads = shape
    if min(height, width) < 2:
        pytest.skip("smaller than a window")
    full = (n, c, height, width)
    x, weight = randoms(n, c, height // 2, width // 2), randoms(k, c, 3, 3, seed=1)
    where = np.random.default_rng(2).integers(0, 8, x.shape).astype(np.uint8)
    at = where[..., None]
    shares = {
        "average": np.full((*x.shape, 4), 0.25),
        "first": (at & 3) == np.arange(4),
        "positive": at == 4 + np.arange(4),
    }
    given = {"x": x} if how == "average" else {"x": x, "where": where}
    words: dict[str, Any] = {"pads": pads, "spread": how, "size": [height, width]}
    whole = spread(x, full, shares[how])
    SUMS.check(run(weight, given, **words)[0], convolved(whole, weight, pads))
    add, mask = randoms(*full, seed=4), np.maximum(randoms(*full, seed=5), 0)
    for extra, wanted in [
        ({"add": add}, whole + add),
        ({"mask": mask}, whole * (mask > 0)),
        ({"add": add, "mask": mask}, (whole + add) * (mask > 0)),
    ]:
        SUMS.check(run(weight, given | extra, **words)[0], convolved(wanted, weight, pads))
        SUMS.check(run(weight, given | extra, rectify_input=1, **words)[0], _rectified(wanted, weight, pads))


def _rectified(x: Doubles, weight: Floats, pads: Sequence[int]) -> Doubles:
    return convolved(np.maximum(x, 0), weight, pads)


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.usefixtures("level")
def test_sums_and_masks_before_it(shape: Any) -> None:
    n, c, k, height, width, pads = shape
    full = (n, c, height, width)
    x, weight = randoms(*full), randoms(k, c, 3, 3, seed=1)
    add, mask = randoms(*full, seed=4), randoms(*full, seed=5)
    got = run(weight, {"x": x, "add": add, "mask": mask}, pads=pads)[0]
    SUMS.check(got, convolved((x.astype(np.float64) + add) * (mask > 0), weight, pads))


def test_a_number_that_is_none_stays_in_its_place() -> None:
    x = randoms(1, 4, 16, 40)
    x[0, 2, 9, 21] = np.nan
    (y,) = run(randoms(5, 4, 3, 3, seed=1), {"x": x}, rectify=1)
    assert np.isnan(y[0, :, 8:11, 20:23]).all()
    assert np.isfinite(y[0, :, :4]).all()
    assert np.isfinite(y[0, :, :, 32:]).all()


def test_the_vector_levels_agree_to_the_bit() -> None:
    vectors = [level for level in _core.simd_levels() if level != "generic"]
    made = []
    for level in vectors:
        with machine(level=level):
            made.append(run(randoms(40, 30, 3, 3, seed=1), {"x": randoms(1, 30, 37, 41)})[0])
    assert all(np.array_equal(one, made[0]) for one in made)


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        ({"filters": 500}, {}, "weights"),
        ({"spread": "sideways"}, {}, "spread must be none, average, first or positive, got 'sideways'"),
        ({"pool": "median"}, {}, "pool must be"),
        ({"pads": [1, 1]}, {}, "pads"),
        ({"pads": [-1, 1, 1, 1]}, {}, "negative"),
        ({"filters": 0}, {}, "at least 1"),
        ({"spread": "average", "size": [9, 9]}, {}, "half of size"),
        ({"spread": "first", "size": [16, 16]}, {}, "where"),
        ({}, {"mask": randoms(1, 4, 8, 9)}, "mask does not have the shape"),
        ({"pads": [0] * 4}, {"x": randoms(1, 4, 2, 8)}, "smaller than the filter"),
        ({}, {"x": randoms(1, 5, 8, 8)}, "weights"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict | str) else None,
)
def test_what_does_not_fit_is_said(words: dict[str, Any], given: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        run(randoms(5, 4, 3, 3), {"x": randoms(1, 4, 8, 8), **given}, **words)
