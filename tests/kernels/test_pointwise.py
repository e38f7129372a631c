"""The op PointwiseConv, through ONNX Runtime, against a product in float64; what it does before and behind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from kernels.checks import SUMMED, Doubles, Floats, randoms
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stylogram import _core
from stylogram_export.domain import DOMAIN
from stylogram_export.winograd import POINTWISE

# N, C, K, H, W. One position and many; sizes that no vector, panel or block divides, and that all do; more filters than
# a tile; few and many channels; a result that goes past the caches.
SHAPES = [
    (1, 3, 64, 20, 20),
    (2, 5, 7, 9, 13),
    (3, 1, 1, 1, 1),
    (1, 17, 65, 40, 133),
    (2, 600, 30, 5, 7),
    (1, 48, 40, 320, 352),
    (1, 12, 100, 221, 211),
]


def session(
    weight: Floats, inputs: Sequence[str], bias: Floats | None = None, threads: int = 2, **words: int
) -> onnxruntime.InferenceSession:
    """A session of one op; inputs of x and mask."""
    read = ["x", "weights", "bias" if bias is not None else "", "mask" if "mask" in inputs else ""]
    node = helper.make_node(POINTWISE, read, ["y"], domain=DOMAIN, **{"rectify_input": 0, **words})
    fixed = [numpy_helper.from_array(weight, "weights")]
    fixed += [] if bias is None else [numpy_helper.from_array(bias, "bias")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in (*inputs, "y")]
    graph = helper.make_graph([node], "op", values[:-1], values[-1:], fixed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(_core.__file__)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(weight: Floats, given: dict[str, NDArray[Any]], bias: Floats | None = None, **words: int) -> NDArray[Any]:
    return np.asarray(session(weight, list(given), bias, **words).run(None, given)[0])


def product(weight: Floats, x: NDArray[Any], bias: Floats | None = None) -> Doubles:
    total: Doubles = np.einsum("kc,nchw->nkhw", weight.astype(np.float64), x.astype(np.float64))
    return total if bias is None else total + bias[None, :, None, None]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("level")
def test_it_is_the_product(shape: Any) -> None:
    n, c, k, height, width = shape
    x, weight, bias = randoms(n, c, height, width), randoms(k, c, seed=1), randoms(k, seed=2)
    y, expected = run(weight, {"x": x}, bias), product(weight, x, bias)
    SUMMED.check(y, expected)
    with pytest.raises(AssertionError):
        SUMMED.check(y * np.float32(1.0001), expected)
    SUMMED.check(run(weight, {"x": x}), product(weight, x))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rectify_input", [0, 1])
@pytest.mark.usefixtures("level")
def test_a_mask_before_it(shape: Any, rectify_input: int) -> None:
    n, c, k, height, width = shape
    x, weight = randoms(n, c, height, width, seed=3), randoms(k, c, seed=1)
    mask = np.round(randoms(n, c, height, width, seed=4)).astype(np.float32)  # with zeros
    kept = np.where(mask > 0, np.maximum(x, 0) if rectify_input else x, np.float32(0))
    y = run(weight, {"x": x, "mask": mask}, rectify_input=rectify_input)
    np.testing.assert_array_equal(y, run(weight, {"x": kept}))
    alone = run(weight, {"x": x}, rectify_input=rectify_input)
    np.testing.assert_array_equal(alone, run(weight, {"x": np.maximum(x, 0) if rectify_input else x}))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_for_any_threads_and_in_any_batch(shape: Any) -> None:
    n, c, k, height, width = shape
    x, weight, bias = randoms(n, c, height, width), randoms(k, c, seed=1), randoms(k, seed=2)
    y = run(weight, {"x": x}, bias)
    for threads in (1, 3):
        np.testing.assert_array_equal(run(weight, {"x": x}, bias, threads=threads), y)
    np.testing.assert_array_equal(run(weight, {"x": x[-1:]}, bias)[0], y[-1])


def test_a_number_that_is_none_stays_in_its_place() -> None:
    x, weight = randoms(1, 4, 6, 50), randoms(9, 4, seed=1)
    x[0, 2, 3, 41] = np.nan
    for rectify_input in (0, 1):
        y = run(weight, {"x": x}, randoms(9), rectify_input=rectify_input)
        assert np.isnan(y[0, :, 3, 41]).all()
        assert np.isnan(y).sum() == 9


@pytest.mark.parametrize(
    ("x", "extra", "message"),
    [
        ((1, 3, 5, 5), {}, "x must be .N,C,H,W. and weights .filters,C."),
        ((1, 4, 5, 5), {"mask": (1, 4, 5, 6)}, "mask does not have the shape"),
        ((1, 4, 5, 5), {"bias": (8,)}, "bias does not have the shape"),
    ],
    ids=["channels", "mask", "bias"],
)
def test_what_does_not_fit_is_refused(x: Any, extra: dict[str, Any], message: str) -> None:
    given = {name: np.zeros(shape, np.float32) for name, shape in {"x": x, **extra}.items()}
    bias = given.pop("bias", None)
    with pytest.raises(Exception, match=rf"\[{POINTWISE}\].*{message}"):
        run(randoms(9, 4), given, bias)
