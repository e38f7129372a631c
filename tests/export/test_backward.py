"""The walk: order, accumulation, sums over broadcasts, taps, saved activations, ReLU modes, and its errors."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Array, network, node, weights
from onnx import TensorProto
from stylogram_export import Error, differentiate, rules, vjp
from vjp_checks import Reference, Runtime, difference_error, gradients_at, session

DOUBLE = TensorProto.DOUBLE
NEAR = 1e-6  # differences in float64, as for the rules


def picture(*shape: int, seed: int = 0) -> Array:
    """Distinct values, none near a kink at 0."""
    count = int(np.prod(shape))
    return np.random.default_rng(seed).permutation((np.arange(count) + 0.37) * 4 / count - 2).reshape(shape)


def conv(source: str, made: str, w: str = "w") -> onnx.NodeProto:
    return node("Conv", f"{source} {w}", made, pads=[1, 1, 1, 1])


def tower(kind: int = DOUBLE, pool: str = "MaxPool", shape: tuple[Any, ...] = (1, 3, 8, 8)) -> onnx.ModelProto:
    """Two stages of a VGG: a, a tap before and after its ReLU, a pool, and b."""
    nodes = [conv("x", "a"), node("Relu", "a", "ra"), node(pool, "ra", "p", kernel_shape=[2, 2], strides=[2, 2])]
    nodes += [conv("p", "b", "v"), node("Relu", "b", "rb")]
    return network(nodes, "rb", {"w": weights(5, 3, 3, 3), "v": weights(6, 5, 3, 3, seed=1)}, shape, kind=kind)


def check(model: onnx.ModelProto, taps: list[str], shape: tuple[int, ...]) -> None:
    assert difference_error(Reference(differentiate(model, taps, shape)), picture(*shape), 1e-5) < NEAR


@pytest.mark.parametrize("taps", [["rb"], ["ra", "rb"], ["rb", "ra"], ["a", "ra", "b", "p"], ["a"], ["p", "rb"]])
def test_taps_anywhere_on_the_way(taps: list[str]) -> None:
    check(tower(), taps, (1, 3, 8, 8))


def test_names_and_order_are_the_contract() -> None:
    made = differentiate(tower(TensorProto.FLOAT), ["rb", "ra"], (2, 3, 8, 8))
    assert made.taps == ("rb", "ra")
    assert made.saved == ("ra", "rb")  # in the order of the network; both are taps too
    assert [v.name for v in made.forward.graph.output] == ["rb", "ra"]
    assert [v.name for v in made.backward.graph.input] == ["gy:rb", "gy:ra", "ra", "rb"]
    assert [v.name for v in made.backward.graph.output] == ["gx"]
    deep = differentiate(tower(TensorProto.FLOAT), ["b"], (2, 3, 8, 8))
    assert [v.name for v in deep.forward.graph.output] == ["b", "ra"]
    assert [v.name for v in deep.backward.graph.input] == ["gy:b", "ra"]


def test_inputs_and_outputs_have_types_and_shapes() -> None:
    made = differentiate(tower(TensorProto.FLOAT), ["rb"], (2, 3, 8, 8))
    for model in (made.forward, made.backward):
        assert {o.version for o in model.opset_import} == {18}
        for value in [*model.graph.input, *model.graph.output]:
            assert value.type.tensor_type.elem_type == TensorProto.FLOAT
            assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim), value.name


def test_only_what_is_needed_is_saved() -> None:
    assert differentiate(tower(), ["a"], (1, 3, 8, 8)).saved == ()  # a convolution needs its weights alone
    assert differentiate(tower(pool="AveragePool"), ["b"], (1, 3, 8, 8)).saved == ("ra",)
    small = differentiate(tower(), ["a"], (1, 3, 8, 8))
    assert [node.op_type for node in small.forward.graph.node] == ["Conv"]


def test_a_tap_given_twice_is_one_tap() -> None:
    assert differentiate(tower(), ["rb", "rb"], (1, 3, 8, 8)).taps == ("rb",)


def test_the_input_itself_can_be_saved() -> None:
    model = network([node("Mul", "x x", "y")], "y", kind=DOUBLE)
    made = differentiate(model, ["y"], (1, 3, 8, 8))
    assert made.saved == ("saved:x",)
    check(model, ["y"], (1, 3, 8, 8))


def test_a_tensor_used_many_times_gets_the_sum() -> None:
    nodes = [conv("x", "a"), node("Sigmoid", "a", "s"), node("Mul", "a s", "m"), node("Add", "m a", "n")]
    nodes += [node("Concat", "n a s", "c", axis=1), node("Add", "c c", "y")]
    check(network(nodes, "y", {"w": weights(2, 3, 3, 3)}, kind=DOUBLE), ["y", "m"], (1, 3, 8, 8))


def test_an_unused_part_of_a_split_counts_as_zero() -> None:
    nodes = [node("Split", "x", "a b c", axis=1, num_outputs=3), node("Tanh", "b", "y")]
    model = network(nodes, "y", kind=DOUBLE)
    check(model, ["y"], (1, 3, 8, 8))
    gx = Reference(differentiate(model, ["y"], (1, 3, 8, 8)))
    x = picture(1, 3, 8, 8)
    made = gx.forward(x)
    gradient = gx.backward(made, gradients_at(("y",), made))
    assert np.all(gradient[:, [0, 2]] == 0)
    assert np.all(gradient[:, 1] != 0)


def squeeze_and_excite(kind: int, shape: tuple[Any, ...]) -> onnx.ModelProto:
    """A strided convolution, a channel gate and a residual sum: broadcasts over sizes that may be open."""
    nodes = [node("Conv", "x w", "a", strides=[2, 2], pads=[1, 1, 1, 1]), node("GlobalAveragePool", "a", "g")]
    nodes += [node("Conv", "g v", "h"), node("Sigmoid", "h", "s"), node("Mul", "a s", "m"), node("Add", "m a", "n")]
    nodes += [node("ReduceMean", "n axes", "r", keepdims=1), node("Sub", "n r", "y")]
    held = {"w": weights(4, 3, 3, 3), "v": weights(4, 4, 1, 1, seed=1), "axes": np.asarray([1, 3])}
    return network(nodes, "y", held, shape, kind=kind)


def test_broadcasts_sum_back() -> None:
    check(squeeze_and_excite(DOUBLE, (1, 3, 8, 8)), ["y"], (2, 3, 7, 9))


OPEN = [
    ("tower", lambda kind: tower(kind, "MaxPool", ("N", 3, "H", "W")), "rb"),
    ("tower, average", lambda kind: tower(kind, "AveragePool", ("N", 3, "H", "W")), "rb"),
    ("gate", lambda kind: squeeze_and_excite(kind, ("N", 3, "H", "W")), "y"),
]


@pytest.mark.parametrize(("make", "tap"), [case[1:] for case in OPEN], ids=[case[0] for case in OPEN])
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 3, 9, 11)])
def test_open_sizes_serve_every_size(make: Any, tap: str, shape: tuple[int, ...]) -> None:
    pair = Runtime(differentiate(make(TensorProto.FLOAT), [tap], (None, 3, None, None)))
    closed = Runtime(differentiate(make(TensorProto.FLOAT), [tap], shape))
    x = picture(*shape).astype(np.float32)
    made, same = pair.forward(x), closed.forward(x)
    gy = gradients_at((tap,), made)
    np.testing.assert_allclose(pair.backward(made, gy), closed.backward(same, gy), rtol=0, atol=1e-6)
    assert (
        difference_error(Reference(differentiate(make(DOUBLE), [tap], (None, 3, None, None))), picture(*shape), 1e-5)
        < NEAR
    )


def test_a_batch_gives_each_picture_what_it_gets_alone() -> None:
    pair = Runtime(differentiate(tower(TensorProto.FLOAT), ["ra", "rb"], (None, 3, 8, 8)))
    x = picture(3, 3, 8, 8).astype(np.float32)
    made = pair.forward(x)
    gy = gradients_at(("ra", "rb"), made)
    whole = pair.backward(made, gy)
    for i in range(3):
        one = pair.forward(x[i : i + 1])
        alone = pair.backward(one, {name: value[i : i + 1] for name, value in gy.items()})
        np.testing.assert_allclose(whole[i : i + 1], alone, rtol=0, atol=1e-6)


def test_half_precision_masks_do_not_overflow() -> None:
    made = differentiate(tower(TensorProto.FLOAT16), ["rb"], (1, 3, 8, 8))
    assert not any(n.op_type == "HardSigmoid" for n in made.backward.graph.node)
    pair, exact = Reference(made), Reference(differentiate(tower(), ["rb"], (1, 3, 8, 8)))
    x = picture(1, 3, 8, 8)
    half, double = pair.forward(x.astype(np.float16)), exact.forward(x)
    gy = gradients_at(("rb",), double)
    got = pair.backward(half, {name: value.astype(np.float16) for name, value in gy.items()})
    expected = exact.backward(double, gy)
    assert np.linalg.norm(got - expected) < 0.02 * np.linalg.norm(expected)  # 11 bits, a few dozen products


# y = relu(x): by hand, for positive and negative x and gy
RELU = {
    "gradient": [[3, -4], [0, 0]],
    "deconvnet": [[3, 0], [5, 0]],
    "guided": [[3, 0], [0, 0]],
}


@pytest.mark.parametrize("mode", rules.RELU_MODES)
def test_relu_modes_by_hand(mode: str) -> None:
    model = network([node("Relu", "x", "y")], "y", shape=(1, 1, 2, 2))
    pair = Runtime(differentiate(model, ["y"], (1, 1, 2, 2), relu=mode))
    x = np.asarray([[1, 2], [-1, -2]], np.float32).reshape(1, 1, 2, 2)
    gy = np.asarray([[3, -4], [5, -6]], np.float32).reshape(1, 1, 2, 2)
    assert pair.backward(pair.forward(x), {"gy:y": gy})[0, 0].tolist() == RELU[mode]


def test_deconvnet_unpools_with_switches() -> None:
    """Zeiler and Fergus: switches put the maximum back, the ReLU rectifies on the way down, the filters are flipped."""
    w = np.asarray([[[[2.0]]]])
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    model = network([*nodes, node("Neg", "p", "y")], "y", {"w": w}, (1, 1, 2, 4))
    x = np.asarray([[1, 5, -1, -2], [2, 3, -4, -3]], np.float32).reshape(1, 1, 2, 4)
    gy = np.asarray([-1.5, -2.5], np.float32).reshape(1, 1, 1, 2)
    made = {}
    for mode in rules.RELU_MODES:
        pair = Runtime(differentiate(model, ["y"], x.shape, relu=mode))
        made[mode] = pair.backward(pair.forward(x), {"gy:y": gy})[0, 0].tolist()
    nothing = [0, 0, 0, 0]
    assert made["gradient"] == made["guided"] == [[0, 3, 0, 0], nothing]
    assert made["deconvnet"] == [[0, 3, 5, 0], nothing]  # all negative: after the ReLU, the first of four zeros


def test_a_relu_passes_nothing_at_zero_and_all_above() -> None:
    model = network([node("Relu", "x", "y")], "y", shape=(1, 1, 1, 4))
    pair = Runtime(differentiate(model, ["y"], (1, 1, 1, 4)))
    x = np.asarray([0.0, -0.0, 1e-30, 3e38], np.float32).reshape(1, 1, 1, 4)
    gy = np.asarray([1, 1, 2, 3], np.float32).reshape(1, 1, 1, 4)
    assert pair.backward(pair.forward(x), {"gy:y": gy}).ravel().tolist() == [0, 0, 2, 3]


def test_zero_gradients_block_one_way_but_not_the_other() -> None:
    nodes = [node("Floor", "x", "f"), node("Mul", "f x", "y")]
    model = network(nodes, "y", kind=DOUBLE)
    pair = Reference(differentiate(model, ["y"], (1, 3, 8, 8)))
    x = picture(1, 3, 8, 8)
    made = pair.forward(x)
    gy = gradients_at(("y",), made)
    np.testing.assert_allclose(pair.backward(made, gy), gy["gy:y"] * np.floor(x))


def test_backward_runs_where_the_forward_is_a_definition() -> None:
    """Ops without a rule are replaced by the sub-graph that defines them."""
    groups = node("GroupNormalization", "x s b", "y", num_groups=3)
    check(
        network([groups], "y", {"s": weights(3), "b": weights(3, seed=1)}, (1, 6, 4, 4), kind=DOUBLE),
        ["y"],
        (1, 6, 4, 4),
    )
    model = network([node("MeanVarianceNormalization", "x", "m"), node("Tanh", "m", "y")], "y")
    pair = Runtime(differentiate(model, ["y"], (2, 3, 8, 8)))  # its definition is in float32
    assert difference_error(pair, picture(2, 3, 8, 8).astype(np.float32), 1e-2) < 1e-3


def test_models_are_left_as_they_were() -> None:
    model = tower(TensorProto.FLOAT)
    before = model.SerializeToString()
    differentiate(model, ["rb"], (1, 3, 8, 8))
    assert model.SerializeToString() == before


def test_the_same_model_gives_the_same_bytes() -> None:
    made = [differentiate(tower(TensorProto.FLOAT), ["ra", "rb"], (1, 3, 8, 8)) for _ in range(2)]
    assert made[0].backward.SerializeToString(deterministic=True) == made[1].backward.SerializeToString(
        deterministic=True
    )


def error(model: onnx.ModelProto, taps: list[str], shape: tuple[Any, ...] = (1, 3, 8, 8), **stated: Any) -> str:
    with pytest.raises(Error) as caught:
        differentiate(model, taps, shape, **stated)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_about_taps() -> None:
    assert error(tower(), ["rc"]) == "unknown tensor 'rc'; accepted: rb, ra, a, p, b"
    assert "'x' is the network's input" in error(tower(), ["x"])
    assert "no tap" in error(tower(), [])
    assert error(tower(), ["rb"], relu="gided") == "unknown relu rule 'gided'; accepted: guided, gradient, deconvnet"


def test_errors_about_gradients_say_which_of_three() -> None:
    zero = network([node("Floor", "x", "y")], "y")
    assert "'y' does not depend on the picture through anything that has a gradient" in error(zero, ["y"])
    rounded = network([node("Relu", "x", "a"), node("Bernoulli", "a", "y")], "y")
    assert "[Bernoulli] node 'bernoulli_y' is not differentiable: it draws random numbers" in error(rounded, ["y"])
    missing = network([node("Relu", "x", "a"), node("Atanh", "a", "y")], "y")
    text = error(missing, ["y"])
    assert text.startswith("[Atanh] node 'atanh_y' has no gradient rule; there are rules for: Abs, Add, AveragePool,")


def test_an_input_whose_gradient_has_no_rule() -> None:
    nodes = [node("ReduceMean", "x axes", "g", keepdims=0), node("Reshape", "g three", "s")]
    nodes += [node("InstanceNormalization", "x s s", "y")]
    model = network(nodes, "y", {"axes": np.asarray([0, 2, 3]), "three": np.asarray([3])})
    text = error(model, ["y"])
    assert "[InstanceNormalization] node 'instancenormalization_y'" in text


def test_a_missing_size_names_the_node() -> None:
    nodes = [conv("x", "a"), node("Tile", "a r", "t")]
    model = network(nodes, "t", {"w": weights(2, 3, 3, 3), "r": np.asarray([1, 1, 2, 2])}, ("N", 3, "H", "W"))
    assert "[Tile] node 'tile_t' needs a fixed size of axis" in error(model, ["t"], (None, 3, None, None))


def test_two_rules_for_one_op_are_an_error_at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = '"""Relu: y = x."""\nops = ("Relu",)\nexamples = [1]\n\n\ndef vjp(step):\n    return step.gy\n'
    (tmp_path / "zz_relu_again.py").write_text(body)
    monkeypatch.setattr(vjp, "__path__", [*vjp.__path__, str(tmp_path)])
    with pytest.raises(
        ImportError, match=r"Relu is in stylogram_export\.vjp\.zz_relu_again and in stylogram_export\.vjp\.relu"
    ):
        rules.rules.__wrapped__()
    sys.modules.pop("stylogram_export.vjp.zz_relu_again")


def test_a_rule_without_examples_is_an_error_at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zz_bare.py").write_text(
        '"""Bare: y = x."""\nops = ("Bare",)\n\n\ndef vjp(step):\n    return step.gy\n'
    )
    monkeypatch.setattr(vjp, "__path__", [*vjp.__path__, str(tmp_path)])
    with pytest.raises(ImportError, match="zz_bare lacks examples"):
        rules.rules.__wrapped__()
    sys.modules.pop("stylogram_export.vjp.zz_bare")


def test_forward_runs_alone() -> None:
    made = differentiate(tower(TensorProto.FLOAT), ["rb"], (1, 3, 8, 8))
    x = picture(1, 3, 8, 8).astype(np.float32)
    assert session(made.forward).run(["rb"], {"x": x})[0].shape == (1, 6, 4, 4)
