"""The op MaxPoolGradient, through ONNX Runtime, against a loop over the windows; and what it refuses."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from kernels.checks import randoms
from numpy.typing import NDArray
from onnx import TensorProto, helper
from stylogram import _core
from stylogram_export.domain import DOMAIN
from stylogram_export.pooling import OP

# N, C, H, W; kernel, strides, pads (top, left, bottom, right), ceil_mode. Windows that overlap, touch and leave gaps;
# longer and shorter than a vector; strides that are compiled and others; windows that reach beyond every side.
CASES = [
    ((1, 3, 20, 20), (3, 3), (2, 2), (0, 0, 0, 0), 0),
    ((2, 5, 21, 40), (3, 3), (2, 2), (0, 0, 0, 0), 1),
    ((1, 2, 33, 75), (3, 3), (2, 2), (1, 1, 1, 1), 0),
    ((1, 70, 7, 9), (2, 2), (2, 2), (0, 0, 0, 0), 0),
    ((1, 2, 13, 41), (3, 3), (1, 1), (1, 1, 1, 1), 0),
    ((2, 2, 19, 50), (5, 4), (3, 3), (2, 1, 1, 2), 0),
    ((1, 1, 9, 11), (1, 2), (4, 3), (0, 0, 0, 0), 0),
    ((1, 2, 3, 3), (3, 3), (2, 2), (0, 0, 0, 0), 0),
    ((1, 1, 6, 5), (2, 3), (2, 1), (1, 2, 1, 2), 1),
]


def out_size(size: int, kernel: int, stride: int, before: int, after: int, ceil: int) -> int:
    windows = (size + before + after - kernel + (stride - 1) * ceil) // stride + 1
    return windows - (ceil and (windows - 1) * stride >= size + before)


def session(x: Sequence[int], gy: Sequence[int], threads: int = 2, **stated: Any) -> onnxruntime.InferenceSession:
    words = {"kernel_shape": [3, 3], "strides": [2, 2], "before": [0, 0], "positive": 0, **stated}
    node = helper.make_node(OP, ["x", "gy"], ["gx"], domain=DOMAIN, **words)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in (("x", x), ("gy", gy))]
    out = helper.make_tensor_value_info("gx", TensorProto.FLOAT, [None] * 4)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(_core.__file__)
    model = helper.make_model(helper.make_graph([node], "op", values, [out]), opset_imports=sets, ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def case(number: int, levels: int = 0) -> tuple[NDArray[Any], NDArray[Any], dict[str, Any]]:
    """x, gy and the attributes; `levels`: x has only so many values, and maxima are shared."""
    shape, kernel, strides, pads, ceil = CASES[number]
    axes = zip(shape[2:], kernel, strides, pads[:2], pads[2:], strict=True)
    x = randoms(*shape, seed=number)
    if levels:
        x = np.round(x * levels / 2).astype(np.float32)
    gy = randoms(*shape[:2], *(out_size(*axis, ceil) for axis in axes), seed=number + 100)
    return x, gy, {"kernel_shape": kernel, "strides": strides, "before": pads[:2]}


def expected(x: NDArray[Any], gy: NDArray[Any], stated: dict[str, Any], positive: bool = False) -> NDArray[Any]:
    """Window by window, in float64."""
    gx = np.zeros(x.shape)
    height, width = x.shape[2:]
    for n, c, i, j in itertools.product(*map(range, gy.shape)):
        top, left = (o * s - b for o, s, b in zip((i, j), stated["strides"], stated["before"], strict=True))
        y0, x0 = max(top, 0), max(left, 0)
        window = x[n, c, y0 : min(top + stated["kernel_shape"][0], height), x0 : left + stated["kernel_shape"][1]]
        dy, dx = divmod(int(window.argmax()), min(left + stated["kernel_shape"][1], width) - x0)
        if not positive or window.max() > 0:
            gx[n, c, y0 + dy, x0 + dx] += gy[n, c, i, j]
    return gx


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("levels", [0, 3], ids=["all different", "ties"])
@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(one) for one in CASES])
@pytest.mark.usefixtures("level")
def test_it_is_the_gradient(number: int, levels: int, positive: int) -> None:
    x, gy, stated = case(number, levels)
    (gx,) = session(x.shape, gy.shape, positive=positive, **stated).run(None, {"x": x, "gy": gy})
    wanted = expected(x, gy, stated, bool(positive))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(gx, wanted, rtol=0, atol=1e-6 * np.abs(gy).max() * np.prod(stated["kernel_shape"]))


def test_the_same_bits_for_any_threads_and_in_any_batch() -> None:
    x, gy, stated = case(1)
    (gx,) = session(x.shape, gy.shape, **stated).run(None, {"x": x, "gy": gy})
    for threads in (1, 3):
        again = session(x.shape, gy.shape, threads, **stated).run(None, {"x": x, "gy": gy})[0]
        np.testing.assert_array_equal(again, gx)
    (alone,) = session((1, *x.shape[1:]), (1, *gy.shape[1:]), **stated).run(None, {"x": x[1:], "gy": gy[1:]})
    np.testing.assert_array_equal(alone[0], gx[1])


def test_a_window_without_a_number_that_is_larger_than_another_gives_nothing() -> None:
    x = np.full((1, 1, 3, 3), -np.inf, np.float32)
    (gx,) = session(x.shape, (1, 1, 1, 1)).run(None, {"x": x, "gy": np.ones((1, 1, 1, 1), np.float32)})
    assert not gx.any()


@pytest.mark.parametrize(
    ("x", "gy", "stated", "message"),
    [
        ((1, 2, 9, 9), (1, 3, 4, 4), {}, "with the same N and C"),
        ((2, 9, 9), (2, 4, 4), {}, "must be .N,C,H,W."),
        ((1, 2, 9, 9), (1, 2, 4, 4), {"strides": [0, 2]}, "must be at least 1"),
        ((1, 2, 9, 9), (1, 2, 4, 4), {"kernel_shape": [3]}, "kernel_shape must be 2 numbers, got 1"),
    ],
    ids=["channels", "rank", "strides", "kernel"],
)
def test_what_does_not_fit_is_refused(x: Any, gy: Any, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=rf"\[{OP}\].*{message}"):
        session(x, gy, **stated).run(None, {"x": np.zeros(x, np.float32), "gy": np.zeros(gy, np.float32)})
