"""Preprocessing folds into the graph exactly, borders included."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from narrow_vgg import features, picture, relative, weights
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from stylogram_export.errors import Error
from stylogram_export.models import build
from stylogram_export.preprocess import PREPROCESS, Preprocess, fold, named

SQUEEZENET = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data/models/squeezenet1_0.onnx"
ODD = Preprocess("BGR", 200.0, (10.0, 20.0, -30.0), (0.5, 2.0, 3.0))  # nothing is symmetric
ALL = {**PREPROCESS, "odd": ODD}
EXACT = 1e-12  # float64 through ~10 layers; folding itself is exact
SINGLE = 1e-5  # float32 through ~10 layers, the sums in another order

rng = np.random.default_rng(5)


def as_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float64, to show that folding is exact and not merely close."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return made


def run_double(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    source = model.graph.input[0].name
    return ReferenceEvaluator(model).run(None, {source: x})


def difference(model: onnx.ModelProto, preprocess: Preprocess, folded: onnx.ModelProto | None = None) -> float:
    """Folded against explicit preprocessing in float64: the largest relative difference at any output and position."""
    double = as_double(model)
    x = picture(18, 23).astype(np.float64)
    got = run_double(as_double(folded) if folded else fold(double, preprocess), x)
    wanted = run_double(double, preprocess.apply(x))
    return max(relative(g, w) for g, w in zip(got, wanted, strict=True))


def graph(nodes: list[onnx.NodeProto], outputs: list[str], **constants: np.ndarray) -> onnx.ModelProto:
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 3, "H", "W"])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    body = helper.make_graph(nodes, "g", [source], results, tensors)
    return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def kernel(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def plain() -> onnx.ModelProto:
    node = helper.make_node("Conv", ["picture", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    return graph([node], ["y"], w=kernel(4, 3, 3, 3), b=kernel(4))


def two_consumers() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["picture"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["a", "p"], ["y"], axis=1),
    ]
    return graph(nodes, ["y"], w=kernel(4, 3, 3, 3))


def grouped() -> onnx.ModelProto:
    return graph(
        [helper.make_node("Conv", ["picture", "w"], ["y"], pads=[2, 1, 0, 1], group=3)], ["y"], w=kernel(6, 1, 3, 3)
    )


def padded_first() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["picture", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"], strides=[2, 2]),
    ]
    return graph(nodes, ["y"], w=kernel(4, 3, 3, 3), pads=np.array([0, 0, 2, 2, 0, 0, 1, 1]))


def shared_weights() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return graph(nodes, ["y"], w=kernel(3, 3, 3, 3))


def input_is_output() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["picture", "picture"], ["b"]),
    ]
    return graph(nodes, ["a", "b"], w=kernel(3, 3, 3, 3))


def computed_weights() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Abs", ["w"], ["v"]),
        helper.make_node("Conv", ["picture", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return graph(nodes, ["y"], w=kernel(3, 3, 3, 3))


GRAPHS = [plain, two_consumers, grouped, padded_first, shared_weights, input_is_output, computed_weights]


@pytest.mark.parametrize("preprocess", ALL.values(), ids=ALL)
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_folding_is_exact(make, preprocess):
    assert difference(make(), preprocess) < EXACT


@pytest.mark.parametrize("preprocess", ALL.values(), ids=ALL)
def test_vgg_through_onnxruntime(preprocess):
    model = build("vgg11", weights("vgg11"))
    x = picture()
    outputs = ["conv1_1", "conv3_2", "conv5_2"]
    got = features(fold(model, preprocess), outputs, x)
    wanted = features(model, outputs, preprocess.apply(x))
    for name in outputs:
        assert relative(got[name], wanted[name]) < SINGLE, name


def test_the_mean_in_the_bias_would_fail_at_the_borders():
    """The check is checked: folding the mean into the bias is right inside and wrong where the padding is."""
    model, mean = plain(), np.array(PREPROCESS["imagenet"].mean, np.float32)
    w, b = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    wrong.graph.initializer[1].CopyFrom(numpy_helper.from_array(b - (w.sum((2, 3)) @ mean), "b"))
    x = picture(18, 23)
    only_mean = Preprocess(mean=PREPROCESS["imagenet"].mean)
    got, wanted = run_double(wrong, x)[0], run_double(model, only_mean.apply(x))[0]
    assert relative(got[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1]) < SINGLE
    assert relative(got, wanted) > 0.01
    assert difference(model, only_mean, wrong) > 0.01
    assert difference(model, only_mean) < EXACT


def test_a_single_convolution_costs_one_node():
    assert [node.op_type for node in fold(plain(), PREPROCESS["caffe"]).graph.node] == ["Sub", "Conv"]
    assert [node.op_type for node in fold(plain(), PREPROCESS["unit"]).graph.node] == ["Conv"]
    assert [node.op_type for node in fold(two_consumers(), PREPROCESS["caffe"]).graph.node][:2] == ["Sub", "Conv"]


def test_the_model_itself_is_not_touched():
    model = plain()
    before = model.SerializeToString()
    fold(model, ODD)
    assert model.SerializeToString() == before


def test_unused_weights_are_dropped_and_the_model_is_valid():
    folded = fold(plain(), ODD)
    onnx.checker.check_model(folded, full_check=True)
    assert "w" not in {tensor.name for tensor in folded.graph.initializer}
    assert "w" in {tensor.name for tensor in fold(shared_weights(), ODD).graph.initializer}


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"no {SQUEEZENET}")
def test_squeezenet_takes_caffes_pictures():
    model = onnx.load(SQUEEZENET)
    x = picture(67, 80)
    bgr = x[:, ::-1] * np.float32(255) - np.float32([104, 117, 123]).reshape(3, 1, 1)  # as its maker says
    outputs = ["conv1", "fire4", "fire9"]
    exact = Preprocess("BGR", 255.0, (104.0, 117.0, 123.0))
    wanted = features(model, outputs, np.ascontiguousarray(bgr))
    got = features(fold(model, exact), outputs, x)
    rounded = features(fold(model, PREPROCESS["caffe"]), outputs, x)
    for name in outputs:
        assert relative(got[name], wanted[name]) < SINGLE, name
        assert relative(rounded[name], wanted[name]) < 0.02, name  # the means differ by 0.68 of 255 at most


def test_one_input_is_needed():
    model = plain()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    with pytest.raises(Error, match="one input is needed, got 2: picture, mask"):
        fold(model, ODD)


def test_first_weights_of_four_channels_are_refused():
    node = helper.make_node("Conv", ["picture", "w"], ["y"], "first")
    with pytest.raises(Error, match=r"node 'first': a picture has 3 channels, its weights \(2, 4, 1, 1\)"):
        fold(graph([node], ["y"], w=kernel(2, 4, 1, 1)), ODD)


@pytest.mark.parametrize("preprocess", ALL.values(), ids=ALL)
def test_json_round_trip(preprocess):
    assert Preprocess.from_json(preprocess.to_json()) == preprocess


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "exactly order, scale, mean, std"),
        ('{"order": "RGB"}', "exactly order, scale, mean, std"),
        ('{"order": "GRB", "scale": 1, "mean": [0,0,0], "std": [1,1,1]}', "accepted: RGB, BGR"),
        ('{"order": "RGB", "scale": "1", "mean": [0,0,0], "std": [1,1,1]}', "scale must be a number"),
        ('{"order": "RGB", "scale": 0, "mean": [0,0,0], "std": [1,1,1]}', "above 0"),
        ('{"order": "RGB", "scale": 1, "mean": [0,0], "std": [1,1,1]}', "mean must be a list of 3"),
        ('{"order": "RGB", "scale": 1, "mean": [0,0,null], "std": [1,1,1]}', "mean must be a number"),
        ('{"order": "RGB", "scale": 1, "mean": [0,0,NaN], "std": [1,1,1]}', "finite"),
        ('{"order": "RGB", "scale": 1, "mean": [0,0,0], "std": [1,0,1]}', "above 0"),
    ],
)
def test_bad_json(text, says):
    with pytest.raises(Error, match=says) as error:
        Preprocess.from_json(text)
    assert "\n" not in str(error.value)


def test_unknown_name_lists_the_nearest_first():
    with pytest.raises(Error, match="unknown preprocess 'cafe'; accepted: caffe, imagenet, unit"):
        named("cafe")
