"""Pairs of graphs in narrow numbers, on ONNX Runtime's CPU: nearly the same gradients, and nothing that overflows."""

from collections import Counter

import numpy as np
import onnx
import pytest
from export.pairs import FLIPS, TAPS, gradients, pair_of, run
from narrow_vgg import picture, relative
from onnx import TensorProto, helper, numpy_helper
from stylogram_export import Error
from stylogram_export.gpu import WAYS, portable
from stylogram_export.precision import narrowed, narrowed_forward

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.mark.parametrize("way", ["ops", "planes"])
@pytest.mark.parametrize("ops", [False, True])
def test_float16_gives_nearly_the_same(ops, way):
    x = picture(32, 48, batch=2)
    pair = portable(pair_of(x.shape), way)
    narrow = narrowed(pair, "fp16", ops)
    used = Counter(node.op_type for model in (narrow.forward, narrow.backward) for node in model.graph.node)
    taps = len(TAPS)  # and the picture, and its gradient
    cast = (taps + 1, taps + 1, taps) if ops else (0, 0, 0)
    assert (used["CudaWiden"], used["CudaNarrow"], used["CudaPeak"]) == cast
    kinds = {v.name: v.type.tensor_type.elem_type for v in narrow.forward.graph.output}
    assert all(kinds[tap] == TensorProto.FLOAT for tap in TAPS)
    assert {kinds[name] for name in narrow.saved if name not in TAPS} <= {TensorProto.FLOAT16, TensorProto.INT64}
    made, gradient = gradients(narrow, x)
    expected, wanted = gradients(pair, x)
    for tap in TAPS:
        assert relative(made[tap], expected[tap]) < 5e-3
    assert np.linalg.norm(gradient - wanted) < FLIPS * np.linalg.norm(wanted)


@pytest.mark.parametrize("ops", [False, True])
def test_float16_gives_a_batch_what_each_picture_gets_alone(ops):
    x = picture(32, 48, batch=2) * np.array([1, 0.2], np.float32).reshape(2, 1, 1, 1)
    together = narrowed(portable(pair_of(x.shape)), "fp16", ops)
    alone = narrowed(portable(pair_of((1, *x.shape[1:]))), "fp16", ops)
    rng = np.random.default_rng(0)
    made = run(together.forward, {"x": x})
    incoming = {f"gy:{tap}": rng.standard_normal(made[tap].shape, np.float32) for tap in TAPS}
    incoming = {name: value * np.array([1, 1e-9], np.float32).reshape(2, 1, 1, 1) for name, value in incoming.items()}
    whole = run(together.backward, {v.name: (made | incoming)[v.name] for v in together.backward.graph.input})["gx"]
    for n in range(2):
        own = run(alone.forward, {"x": x[n : n + 1]}) | {name: value[n : n + 1] for name, value in incoming.items()}
        gradient = run(alone.backward, {v.name: own[v.name] for v in alone.backward.graph.input})["gx"]
        assert np.abs(gradient).max() > 0
        assert relative(whole[n : n + 1], gradient) < 1e-3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_bfloat16_is_a_valid_graph(pooling, way):
    """ONNX Runtime's CPU has no convolution of bfloat16: types and shapes are checked, values are not."""
    narrow = narrowed(portable(pair_of((1, 3, 32, 48), pooling), way), "bf16")
    for model in (narrow.forward, narrow.backward):
        standard = way != "ops"
        onnx.checker.check_model(model, full_check=standard)
        kinds = onnx.shape_inference.infer_shapes(model, strict_mode=standard).graph.value_info
        narrow_ones = [v.name for v in kinds if v.type.tensor_type.elem_type == TensorProto.BFLOAT16]
        convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
        assert convolved <= {*narrow_ones, *(v.name for v in model.graph.output)}


def test_sums_and_parts_are_bfloat16_too():
    """As float32 they give the same: ONNX Runtime's CPU has no Slice of bfloat16."""
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1),
        helper.make_node("Sum", ["a", "b", "c"], ["d"]),
        helper.make_node("Sum", ["d", "a"], ["y"]),
    ]
    nodes[0].input.append("sizes")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, 4, 5]) for name, c in (("x", 6), ("y", 2))]
    sizes = numpy_helper.from_array(np.array([2, 2, 2], np.int64), "sizes")
    model = helper.make_model(helper.make_graph(nodes, "net", value[:1], value[1:], [sizes]),
                              opset_imports=[helper.make_opsetid("", 18)], ir_version=8)  # fmt: skip
    made = narrowed_forward(model, "bf16")
    assert Counter(node.op_type for node in made.graph.node) == {"Cast": 2, "Slice": 3, "Add": 3}
    for node in made.graph.node:
        for attribute in node.attribute:
            attribute.i = TensorProto.FLOAT if node.op_type == "Cast" else attribute.i
    x = np.random.default_rng(0).standard_normal((1, 6, 4, 5), np.float32)
    assert (run(made, {"x": x})["y"] == run(model, {"x": x})["y"]).all()


def test_bfloat16_needs_no_casts_where_the_provider_has_it_all():
    narrow = narrowed(portable(pair_of((1, 3, 32, 48)), "planes"), "bf16", native=True)
    for model, casts in ((narrow.forward, 1 + len(TAPS)), (narrow.backward, len(TAPS) + 1)):
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
        assert sum(node.op_type == "Cast" for node in model.graph.node) == casts


def test_features_of_a_hundred_thousand_fit_into_float16():
    x = picture(32, 48)
    factor = 1e5 / float(gradients(pair_of(x.shape), x)[0]["conv2_1"].max())
    pair = portable(pair_of(x.shape, scale=factor))
    expected, wanted = gradients(pair, x)
    assert expected["conv2_1"].max() > 65504
    made, gradient = gradients(narrowed(pair, "fp16"), x)
    for tap in TAPS:
        assert relative(made[tap], expected[tap]) < 5e-3
    assert np.linalg.norm(gradient - wanted) < FLIPS * np.linalg.norm(wanted)
    assert relative(run(narrowed_forward(pair.forward, "fp16"), {"x": x})["conv2_1"], expected["conv2_1"]) < 5e-3


def test_an_op_that_cannot_be_scaled_is_one_clear_line():
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"], "bend")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 9, 9])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(Error, match=r"fp16: the op Sigmoid \('bend'\) depends on its input's scale"):
        narrowed_forward(model, "fp16")
    with pytest.raises(Error, match="unknown precision 'fp8'; accepted: "):
        narrowed_forward(model, "fp8")
