"""Models from the wild: cutting, cleaning, fixing a size, and what is said of those that cannot be used."""

from typing import Any

import numpy as np
import onnx
import pytest
from architectures import light, with_weights
from graphs import Array, network, node, weights
from onnx import TensorProto, helper
from stylogram_export import Error
from stylogram_export.graph import cut
from stylogram_export.prepare import prepare, prune
from stylogram_export.specialise import shapes, specialise
from vjp_checks import session


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    names = [v.name for v in model.graph.output]
    return list(session(model).run(names, {"x": x.astype(np.float32)}))


def picture(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def same(model: onnx.ModelProto, made: onnx.ModelProto, *shape: int, atol: float = 1e-5) -> None:
    """Both compute the same, under the same names."""
    assert [v.name for v in made.graph.output] == [v.name for v in model.graph.output]
    for a, b in zip(run(model, picture(*shape)), run(made, picture(*shape)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def error(call: Any, *given: Any) -> str:
    with pytest.raises(Error) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- cut ----------------------------------------------------------------------------------------------------------


def chain() -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "b"), node("Conv", "b v", "c")]
    model = network([*nodes, node("Relu", "c", "d")], "d", {"w": weights(4, 3, 3, 3), "v": weights(5, 4, 1, 1)})
    model.metadata_props.add(key="stylogram.preprocess", value="caffe")
    return model


def test_cut_keeps_what_is_needed_in_the_order_asked_for() -> None:
    piece = cut(chain(), ["b", "a"])
    assert [v.name for v in piece.graph.output] == ["b", "a"]
    assert ops(piece) == ["Conv", "Relu"]
    assert [t.name for t in piece.graph.initializer] == ["w"]
    assert piece.metadata_props[0].value == "caffe"
    onnx.checker.check_model(piece)


def test_cut_gives_outputs_the_types_that_follow() -> None:
    nodes = [node("Shape", "x", "s"), node("Gather", "s i", "n")]
    piece = cut(network(nodes, "n", {"i": np.asarray(0)}), ["s"])
    assert piece.graph.output[0].type.tensor_type.elem_type == TensorProto.INT64


def test_cut_says_which_tensors_there_are() -> None:
    assert error(cut, chain(), ["bb"]) == "unknown tensor 'bb'; accepted: b, a, c, d"
    assert "unknown tensor 'w'" in error(cut, chain(), ["w"])


def test_cut_keeps_what_a_branch_takes_from_outside() -> None:
    then = helper.make_graph([node("Mul", "a a", "t")], "then", [], [helper.make_tensor_value_info("t", 1, None)])
    other = helper.make_graph([node("Neg", "a", "e")], "else", [], [helper.make_tensor_value_info("e", 1, None)])
    nodes = [node("Relu", "x", "a"), helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)]
    assert ops(cut(network(nodes, "y", {"flag": np.asarray(True)}), ["y"])) == ["Relu", "If"]


# -- prepare ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v2"])
def test_light_models_become_clean(name: str) -> None:
    model = light(name)
    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    made = prepare(with_weights(cut(model, [relus[8]])))
    assert [v.name for v in made.graph.output] == [relus[8]]
    assert len(made.graph.input) == 1
    assert made.opset_import[0].version == 18
    assert not {"ConstantOfShape", "Constant", "Unsqueeze", "BatchNormalization", "Dropout"} & set(ops(made))
    assert len({node.name for node in made.graph.node}) == len(made.graph.node)
    onnx.checker.check_model(made)


def test_preparing_twice_is_preparing_once() -> None:
    model = light("shufflenet")
    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    once = prepare(with_weights(cut(model, [relus[5]])))
    assert prepare(once).SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)


def test_constants_are_computed() -> None:
    nodes = [node("Constant", "", "c", value_floats=[1.0, 2.0, 3.0]), node("ConstantOfShape", "n", "one")]
    nodes += [node("Unsqueeze", "c axes", "u"), node("Add", "u one", "v"), node("Mul", "x v", "y")]
    held = {"n": np.asarray([1]), "axes": np.asarray([1, 2])}
    model = network(nodes, "y", held)
    made = prepare(model)
    assert ops(made) == ["Mul"]
    assert len(made.graph.initializer) == 1
    same(model, made, 1, 3, 8, 8)


def test_identities_go_and_outputs_keep_their_names() -> None:
    nodes = [node("Identity", "x", "a"), node("Relu", "a", "b"), node("Identity", "b", "c"), node("Dropout", "c", "d")]
    nodes += [node("Neg", "c", "e"), node("Identity", "e", "f"), node("Identity", "x", "g")]
    model = network(nodes, "d f g b")
    made = prepare(model)
    # b and d are both outputs of one tensor, g is the picture itself: each needs a node of its own
    assert sorted(ops(made)) == ["Dropout", "Identity", "Neg", "Relu"]
    same(model, made, 1, 3, 8, 8)


def test_dropout_in_training_stays() -> None:
    model = network([node("Dropout", "x - t", "y")], "y", {"t": np.asarray(True)})
    assert ops(prepare(model)) == ["Dropout"]


def normalised(*after: onnx.NodeProto, outputs: str) -> onnx.ModelProto:
    held = {"w": weights(4, 3, 3, 3), "b": weights(4), "g": weights(4, seed=1), "h": weights(4, seed=2)}
    held |= {"m": weights(4, seed=3), "v": np.abs(weights(4, seed=4)) + 0.5, "s": weights(4, 1, 1, seed=5)}
    return network([node("Conv", "x w b", "a"), *after], outputs, held)


NORM = node("BatchNormalization", "a g h m v", "n", epsilon=1e-3)


def test_batch_normalisation_goes_into_the_weights() -> None:
    model = normalised(NORM, node("Relu", "n", "y"), outputs="y")
    made = prepare(model)
    assert ops(made) == ["Conv", "Relu"]
    assert made.graph.node[0].output[0] == "n"  # its name stays tappable
    same(model, made, 1, 3, 8, 8)


def test_scales_and_shifts_go_into_the_weights() -> None:
    chain = [node("Mul", "s a", "b1"), node("Add", "b1 s", "b2"), node("Sub", "s b2", "b3"), node("Div", "b3 s", "y")]
    model = normalised(*chain, outputs="y")
    made = prepare(model)
    assert ops(made) == ["Conv"]
    same(model, made, 1, 3, 8, 8)


@pytest.mark.parametrize(
    ("after", "outputs"),
    [
        ([NORM, node("Add", "n a", "y")], "y"),  # the convolution's output is used elsewhere
        ([NORM], "n a"),  # and is an output
        ([node("Mul", "a a", "y")], "y"),  # not a constant
    ],
)
def test_what_others_see_is_not_folded(after: list[onnx.NodeProto], outputs: str) -> None:
    model = normalised(*after, outputs=outputs)
    made = prepare(model)
    assert len(ops(made)) == len(ops(model))
    same(model, made, 1, 3, 8, 8)


def test_a_scale_that_is_not_a_channel_s_is_not_folded() -> None:
    rows = network(
        [node("Conv", "x w", "a"), node("Mul", "a s", "y")], "y", {"w": weights(4, 3, 3, 3), "s": weights(6)}
    )
    assert ops(prepare(rows)) == ["Conv", "Mul"]


def test_weights_used_twice_are_folded_apart() -> None:
    nodes = [node("Conv", "x w", "a"), node("Mul", "a s", "b"), node("Conv", "x w", "c"), node("Add", "b c", "y")]
    model = network(nodes, "y", {"w": weights(4, 3, 3, 3), "s": weights(4, 1, 1)})
    made = prepare(model)
    assert ops(made) == ["Conv", "Conv", "Add"]
    same(model, made, 1, 3, 8, 8)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20, 22])
def test_opsets_are_converted(opset: int) -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "r"), node("AveragePool", "r", "p", kernel_shape=[2, 2])]
    model = network([*nodes, node("Softmax", "p", "y", axis=1)], "y", {"w": weights(4, 3, 3, 3)}, opset=opset)
    made = prepare(model)
    assert made.opset_import[0].version == 18
    same(model, made, 1, 3, 8, 8)


def test_later_ops_are_replaced_by_their_definitions() -> None:
    nodes = [node("Gelu", "x", "g", approximate="tanh"), node("GroupNormalization", "g s s", "y", num_groups=1)]
    model = network(nodes, "y", {"s": weights(3)}, opset=21)
    made = prepare(model)
    assert not {"Gelu", "GroupNormalization", "CastLike"} & set(ops(made))
    same(model, made, 1, 3, 8, 8)


def test_local_functions_are_inlined() -> None:
    double = helper.make_function(
        "own", "Double", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 18)]
    )
    model = network([helper.make_node("Double", ["x"], ["y"], domain="own")], "y")
    model.functions.append(double)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert ops(prepare(model)) == ["Add"]
    same(model, prepare(model), 1, 3, 8, 8)


def test_initialisers_among_the_inputs_are_no_inputs() -> None:
    model = chain()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [v.name for v in prepare(model).graph.input] == ["x"]


def test_metadata_and_the_original_are_kept() -> None:
    model = chain()
    before = model.SerializeToString()
    assert prepare(model).metadata_props[0].value == "caffe"
    assert model.SerializeToString() == before


def test_inputs_that_will_not_do() -> None:
    two = network([node("Add", "x z", "y")], "y")
    two.graph.input.append(helper.make_tensor_value_info("z", 1, [1]))
    assert error(prepare, two) == "the network must have one input that no initialiser fills, got 2: x, z"
    whole = network([node("Cast", "x", "y", to=1)], "y", kind=TensorProto.UINT8)
    assert error(prepare, whole) == "the network's input 'x' must be float (N, C, H, W), got uint8"
    flat = network([node("Relu", "x", "y")], "y", shape=(1, 3))
    assert error(prepare, flat) == "the network's input 'x' must be float (N, C, H, W), got rank 2"


def test_graphs_that_will_not_do() -> None:
    unknown = network([node("Conv", "x", "y")], "y")
    assert error(prepare, unknown).startswith("the network is not a valid ONNX model: ")
    later = network([node("GlobalMaxPool", "x", "y")], "y", opset=24)
    later.opset_import[0].version = 99
    assert error(prepare, later).startswith("opset 99 cannot be converted to 18: ")
    foreign = network([node("Relu", "x", "y")], "y")
    foreign.opset_import[0].domain = "com.example"
    assert error(prepare, foreign) == "the network uses no standard opset, only com.example"


# -- specialise -----------------------------------------------------------------------------------------------------


def classifier(*reshape: int, features: int = 36) -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "a"), node("Reshape", "a r", "b"), node("MatMul", "b m", "y")]
    held = {"w": weights(1, 3, 3, 3), "r": np.asarray(reshape), "m": weights(features, 2)}
    return network(nodes, "y", held, (1, 3, 8, 8))


def test_shapes_follow_from_the_picture() -> None:
    model = prepare(chain())
    assert shapes(specialise(model, (2, 3, 10, 12)))["d"] == (2, 5, 10, 12)
    made = shapes(specialise(model, (None, 3, None, 12)))
    assert made["x"] == (None, 3, None, 12)
    assert made["d"] == (None, 5, None, 12)
    assert made["v"] == (5, 4, 1, 1)


def test_what_hangs_on_the_size_is_computed() -> None:
    nodes = [node("Shape", "x", "s"), node("Gather", "s i", "n"), node("Unsqueeze", "n zero", "u")]
    nodes += [node("Slice", "s two four", "hw"), node("ReduceProd", "hw", "p"), node("Concat", "u c p", "r", axis=0)]
    nodes += [node("Reshape", "x r", "y"), node("Size", "x", "z")]
    held = {
        "zero": np.asarray([0]),
        "two": np.asarray([2]),
        "four": np.asarray([4]),
        "c": np.asarray([3]),
        "i": np.asarray(0),
    }
    model = prepare(network(nodes, "y", held, ("N", 3, "H", "W")))
    assert ops(specialise(model, (1, 3, 4, 6))) == ["Reshape"]
    half = ops(specialise(model, (None, 3, 4, 6)))
    assert "Slice" not in half  # height and width are known
    assert "Shape" in half  # the batch is not


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_pads_become_numbers(mode: str) -> None:
    nodes = [node("Conv", "x w", "a", strides=[2, 3], auto_pad=mode)]
    nodes += [node("MaxPool", "a", "y", kernel_shape=[2, 2], strides=[2, 1], auto_pad=mode)]
    model = network(nodes, "y", {"w": weights(4, 3, 3, 2)}, (1, 3, 9, 13))
    made = specialise(prepare(model), (1, 3, 9, 13))
    assert not any(a.name == "auto_pad" for node in made.graph.node for a in node.attribute)
    same(model, made, 1, 3, 9, 13)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "NOTSET"])
def test_transposed_pads_become_numbers(mode: str) -> None:
    stated: dict[str, Any] = {"output_shape": [17, 10]} if mode == "NOTSET" else {"auto_pad": mode}
    model = network([node("ConvTranspose", "x w", "y", strides=[2, 1], **stated)], "y", {"w": weights(3, 4, 4, 3)})
    made = specialise(prepare(model), (1, 3, 8, 8))
    assert {a.name for a in made.graph.node[0].attribute} == {"strides", "pads"}
    same(model, made, 1, 3, 8, 8)


def test_a_reshape_that_the_size_breaks() -> None:
    model = prepare(classifier(1, 36))
    assert ops(specialise(model, (1, 3, 8, 8))) == ["Conv", "Reshape", "MatMul"]
    text = error(specialise, model, (1, 3, 16, 16))
    assert text.startswith(
        "[Reshape] node 'reshape_b' is fixed to 1x36 and cannot take 1x1x14x14, for a picture of 1x3x16x16"
    )
    assert "it was made for 1x3x8x8" in text
    assert "cannot take 2x1x6x6" in error(specialise, model, (2, 3, 8, 8))


def test_a_classifier_that_the_size_breaks_says_which_sizes_fit() -> None:
    model = prepare(classifier(0, -1, features=900))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, ["N", 3, "H", "W"]))
    text = error(specialise, model, (1, 3, 16, 16))
    assert text.startswith("[MatMul] node 'matmul_y' takes 900 features and cannot take 196")
    assert text.endswith("; squares that fit: 32")


def test_a_picture_too_small() -> None:
    nodes = [node("MaxPool", f"{a}", f"{b}", kernel_shape=[2, 2], strides=[2, 2]) for a, b in ("xa", "ab", "by")]
    text = error(specialise, prepare(network(nodes, "y", shape=("N", 3, "H", "W"))), (1, 3, 4, 64))
    assert "'maxpool_y'" in text
    assert "too small" in text


def test_what_stays_is_not_copied() -> None:
    model = prepare(chain())
    first = model.graph.initializer[0]
    prune(model)
    first.doc_string = "the same"
    assert model.graph.initializer[0].doc_string == "the same"
    model.graph.initializer.append(helper.make_tensor("nobody's", TensorProto.FLOAT, [1], [0.0]))
    prune(model)
    assert "nobody's" not in [tensor.name for tensor in model.graph.initializer]


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 3, 0, 8), (1, 3, 8, 8, 8)])
def test_shapes_that_are_none(shape: tuple[int, ...]) -> None:
    assert error(specialise, prepare(chain()), shape) == f"shape must be (N, C, H, W), each a size or None, got {shape}"


def test_the_wrong_number_of_channels() -> None:
    assert error(specialise, prepare(chain()), (1, 4, 8, 8)) == "the network takes pictures of 3 channels, got 4"
