"""The graphs that GPUs run, on ONNX Runtime's CPU: the same gradients, whatever words and layout they have."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from export.pairs import FLIPS, TAPS, gradients, pair_of, run, spelled_out
from narrow_vgg import picture, relative
from onnx import TensorProto, helper, numpy_helper
from stylogram_export import Derivative, Error, differentiate
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import WAYS, portable
from stylogram_export.graph import attributes, dims
from stylogram_export.precision import narrowed

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_the_portable_graph_has_the_same_gradient(size, pooling, way):
    x = np.round(picture(*size, batch=2) * 4) / 4  # flat areas: ties in the pools
    pair = pair_of(x.shape, pooling)
    other = portable(pair, way)
    ops = Counter(node.op_type for node in other.backward.graph.node)
    assert not ops["MaxUnpool"]
    assert not ops["HardSigmoid"]
    outputs = {len(node.output) for node in other.backward.graph.node if node.op_type == "MaxPool"}
    assert way == "indices" or outputs <= {1}
    got, wanted = gradients(other, x)[1], gradients(pair, x)[1]
    if way == "ops":  # the gradient on the picture is a Conv, which adds up in another order
        assert not {"ScatterElements", "Where"}.intersection(ops)
        assert pooling == "avg" or not ops["ConvTranspose"]
        assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
    else:
        assert (got == wanted).all()


def pooled(size, relu=True, **stated):
    """A network whose max-pool has these words, after a ReLU or not, and gradients for pictures of this size."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Relu" if relu else "Identity", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["y"], "wide", **stated),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 1, 1], [1, -2, 3, 4, 5, -6])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return differentiate(model, ["y"], (2, 3, *size))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("size", "stated"),
    [
        ((9, 12), {"kernel_shape": [3, 3], "strides": [3, 3]}),
        ((9, 12), {"kernel_shape": [3, 3], "strides": [2, 2]}),
        ((10, 13), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ((9, 12), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((9, 12), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
        ((9, 12), {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}),
        ((11, 12), {"kernel_shape": [5, 4], "strides": [3, 3], "pads": [2, 1, 1, 2]}),
        ((7, 9), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ((6, 9), {"kernel_shape": [3, 2], "strides": [2, 2]}),
    ],
)
def test_windows_of_any_overlap_need_no_indices(size, stated, relu):
    """Whole numbers, so that no sum is rounded, and ties in every window."""
    pair = pooled(size, relu, **stated)
    other = portable(pair, "planes")
    onnx.checker.check_model(other.backward, full_check=True)
    assert not {"ScatterElements", "MaxUnpool"}.intersection(node.op_type for node in other.backward.graph.node)
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 3, *size)).astype(np.float32)
    made = run(pair.forward, {"x": x})
    given = made | {"x": x, "gy:y": rng.integers(-9, 10, made["y"].shape).astype(np.float32)}
    got, wanted = (
        run(one.backward, {v.name: given[v.name] for v in one.backward.graph.input})["gx"] for one in (other, pair)
    )
    assert np.abs(wanted).max() > 0
    assert (got == wanted).all()


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"kernel_shape": [2, 2], "strides": [3, 3]}, "one stride that is no larger than the window"),
        ({"kernel_shape": [3, 3], "strides": [1, 2]}, r"accepted, got \[1, 2\] and \[3, 3\]"),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]}, "'wide:again'.*without dilations"),
    ],
)
def test_windows_that_need_indices_are_one_clear_line_without(stated, message):
    with pytest.raises(Error, match=message):
        portable(pooled((9, 12), **stated), "planes")


POOLS = {
    "halves": ({"kernel_shape": [2, 2], "strides": [2, 2]}, True),
    "overlap": ({"kernel_shape": [3, 2], "strides": [2, 1]}, True),
    "counted pads": ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}, True),
    "pads": ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, False),
    "ceil": ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, False),
    "named pads": ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, False),
}


@pytest.mark.parametrize("windows", POOLS)
def test_averages_are_our_ops_where_windows_count_all_their_elements(windows):
    words, ours = POOLS[windows]
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 12), np.float32)
    graph = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["y"], "pool", **words)], "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    pair = differentiate(onnx.shape_inference.infer_shapes(model), ["y"], x.shape)
    made = portable(pair)
    assert [node.op_type == "CudaAveragePool" for node in made.forward.graph.node] == [ours]
    assert ("CudaAveragePoolGradient" in {node.op_type for node in made.backward.graph.node}) or not ours
    for got, wanted in zip(gradients(made, x), gradients(pair, x), strict=True):
        got, wanted = (value["y"] if isinstance(value, dict) else value for value in (got, wanted))
        assert relative(got, wanted) < 1e-6


@pytest.mark.parametrize("convs", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_channels_last_changes_nothing(pooling, precision, convs):
    x = picture(33, 48, batch=2)
    pair = narrowed(portable(pair_of(x.shape, pooling)), precision, ops=True)
    last = channels_last(pair, convs)
    readable = replace(last, forward=spelled_out(last.forward), backward=spelled_out(last.backward))
    wanted, made = gradients(pair, x), gradients(readable, x)
    # In one pass a bias is added before it is rounded.
    for tap in TAPS:
        assert relative(made[0][tap], wanted[0][tap]) <= (5e-3 if convs and precision == "fp16" else 0)
    # ONNX Runtime's CPU computes float16 in float32, and rounds between other nodes where there are Transposes.
    most = FLIPS * np.linalg.norm(wanted[1]) if precision == "fp16" else 0
    assert np.linalg.norm(made[1] - wanted[1]) <= most
    kept = {v.name: dims(v) for v in last.forward.graph.output if v.name not in TAPS}
    assert set(kept) == set(last.saved)
    first = {v.name: dims(v) for v in pair.forward.graph.output}
    for name, sizes in kept.items():
        n, c, h, w = first[name.removesuffix(":kept")]
        assert sizes == (n, h, w, c)
    given = {v.name for v in last.backward.graph.input}
    assert not given.intersection(TAPS)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_with_our_convolutions_nothing_is_turned_within(pooling):
    pair = channels_last(narrowed(portable(pair_of((1, 3, 32, 48), pooling)), "bf16", ops=True), convs=True)
    pool = "CudaMaxPool" if pooling == "max" else "CudaAveragePool"
    for model, others in ((pair.forward, {pool}), (pair.backward, {"CudaReluGradient", f"{pool}Gradient"})):
        used = Counter(node.op_type for node in model.graph.node)
        assert used.pop("CudaConv") == 13
        assert used.pop("CudaNarrowBFloat16") + used.pop("CudaWidenBFloat16") == len(TAPS) + 1
        assert set(used) == others
        read = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= read


def test_what_works_on_each_number_does_so_wherever_channels_are():
    rng = np.random.default_rng(0)
    values = {"w": rng.standard_normal((4, 3, 1, 1)), "v": rng.standard_normal((5, 8, 3, 3)), "half": np.array([0.5]),
              "channels": rng.standard_normal((4, 1, 1)), "beta": rng.standard_normal((1, 4, 1, 1)),
              "places": rng.standard_normal((1, 1, 8, 9))}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "channels"], ["b"]),  # a name that we would take
        helper.make_node("Add", ["b", "beta"], ["b1"]),
        helper.make_node("Conv", ["b1", "beta"], ["b2"]),  # what is a row there are weights here: (1,4,1,1)
        helper.make_node("Concat", ["b1", "b2"], ["b3"], axis=1),
        helper.make_node("Slice", ["b3", "first", "from4", "along"], ["c"]),
        helper.make_node("Clip", ["c", "", "half"], ["d"]),
        helper.make_node("Concat", ["c", "d"], ["e"], axis=1),
        helper.make_node("Slice", ["e", "from", "to", "along"], ["f"]),
        helper.make_node("Split", ["e"], ["g", "h"], axis=1, num_outputs=2),
        helper.make_node("Sub", ["h", "places"], ["h1"]),  # which lie otherwise: it stays where it is
        helper.make_node("Add", ["h1", "channels"], ["i"]),  # and so does this, whose constant is as it was
        helper.make_node("Concat", ["f", "i"], ["j"], axis=1),
        helper.make_node("Conv", ["j", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    numbers = {"from": [2], "to": [6], "along": [1], "first": [1], "from4": [5]}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    constants += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, c, 8, 9]) for name, c in (("x", 3), ("y", 5))]
    graph = helper.make_graph(nodes, "net", value[:1], value[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    last = channels_last(Derivative(model, model, ("y",), ()), convs=True).forward
    x = rng.standard_normal((2, 3, 8, 9), np.float32)
    assert relative(run(spelled_out(last), {"x": x})["y"], run(model, {"x": x})["y"]) < 1e-6
    turned = Counter(node.op_type for node in last.graph.node)["Transpose"]
    assert turned == 4  # x and y, and before and after `places`


#: A convolution that ONNX Runtime's has to do, by what is odd about it.
KEPT = {
    "more below": {"pads": [0, 0, 1, 1]},
    "named pads": {"auto_pad": "SAME_UPPER"},
    "weights that are an input": {"pads": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("odd", KEPT)
def test_other_convolutions_stay(odd):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])]
    values = [numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")]
    if odd == "weights that are an input":
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 3, 3]))
        values = []
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], **KEPT[odd])], "net", inputs,
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], values)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    last = channels_last(Derivative(model, model, (), ()), convs=True)
    assert [node.op_type for node in last.forward.graph.node] == ["Conv"]


def test_a_bias_that_others_read_too_is_not_taken_up():
    words = {"kernel_shape": [1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], **words),
        helper.make_node("CudaBiasRelu", ["c", "b"], ["r"], domain="stylogram", channels_last=0),
        helper.make_node("Conv", ["c", "w", "b"], ["y"], **words),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 9, 9]) for name in "xryc"]
    constants = [numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w"),
                 numpy_helper.from_array(np.ones(3, np.float32), "b")]  # fmt: skip
    graph = helper.make_graph(nodes, "net", value[:1], value[1:3], constants, value_info=value[3:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("stylogram", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    last = channels_last(Derivative(model, model, (), ()), convs=True).forward.graph
    made = [(node.op_type, len(node.input), attributes(node).get("relu")) for node in last.node]
    made = [one for one in made if one[0] != "Transpose"]
    assert made == [("CudaConv", 2, 0), ("CudaBiasRelu", 2, None), ("CudaConv", 3, 0)]
    assert [tensor.name for tensor in last.initializer] == ["b", "w:last"]


@pytest.mark.parametrize("convs", [None, True])
def test_preprocessing_that_backward_reads_too(convs):
    """A max-pool right behind it, whose gradient asks for what was pooled."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["pre"]),
        helper.make_node("MaxPool", ["pre"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 12]),
             helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 6])]  # fmt: skip
    constants = [numpy_helper.from_array(rng.random((3, 1, 1), np.float32), "mean"),
                 numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3), np.float32), "w")]  # fmt: skip
    model = helper.make_model(helper.make_graph(nodes, "net", value[:1], value[1:], constants),
                              opset_imports=[helper.make_opsetid("", 18)], ir_version=8)  # fmt: skip
    pair = portable(differentiate(model, ["y"], (1, 3, 8, 12)))
    for ops in (True, False):
        narrow = narrowed(pair, "fp16", ops)
        if convs and ops:
            narrow = channels_last(narrow, convs)
            narrow = replace(narrow, forward=spelled_out(narrow.forward), backward=spelled_out(narrow.backward))
        x = rng.random((1, 3, 8, 12), np.float32)
        (made, gradient), (expected, wanted) = gradients(narrow, x), gradients(pair, x)
        assert relative(made["y"], expected["y"]) < 5e-3
        assert np.linalg.norm(gradient - wanted) < FLIPS * np.linalg.norm(wanted)
