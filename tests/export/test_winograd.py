"""Which nodes become WinogradConv, what they take up, what stays. The numbers: engine/test_session_winograd.py."""

from collections import Counter

import numpy as np
import onnx
import pytest
from graphs import network, node, weights
from stylogram_export import differentiate
from stylogram_export.domain import DOMAIN
from stylogram_export.graph import attributes
from stylogram_export.models import vgg
from stylogram_export.winograd import OP, POINTWISE, packed, rewrite, rewrite_forward

COUNTS = (2, 2, 1)
WIDTHS = (6, 8, 10)
TAPS = ["conv1_1", "conv2_1", "conv3_1"]
SHAPE = (1, 3, 40, 56)


def pair(taps=TAPS, pooling="max", relu="gradient", shape=SHAPE):
    model = vgg.graph("small", COUNTS, 2, vgg.initial(COUNTS, WIDTHS, 0), pooling)
    return differentiate(model, taps, shape, relu)


def ops(model: onnx.ModelProto) -> Counter[str]:
    return Counter(f"{node.domain}.{node.op_type}".lstrip(".") for node in model.graph.node)


def outputs(model: onnx.ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]


def by_y(model: onnx.ModelProto) -> dict[str, dict[str, object]]:
    """The attributes of the ops by their outputs, joined."""
    return {",".join(filter(None, node.output)): attributes(node) for node in model.graph.node if node.op_type == OP}


def test_nothing_but_the_op_is_left_of_a_vgg() -> None:
    made = rewrite(pair())
    assert ops(made.forward) == {f"{DOMAIN}.{OP}": 5}
    assert ops(made.backward) == {f"{DOMAIN}.{OP}": 5}


@pytest.mark.parametrize(("side", "count"), [(36, 5), (32, 4)])
def test_a_few_tiles_stay_onnx_runtimes(side: int, count: int) -> None:
    """conv3_1 has a quarter of the picture's sides: 9 positions are 3 tiles, 8 are 2. A batch is no other case."""
    for number in (1, 5):
        made = rewrite(pair(shape=(number, 3, side, side)))
        assert ops(made.forward)[f"{DOMAIN}.{OP}"] == count
        assert ops(made.backward)[f"{DOMAIN}.{OP}"] == count


def test_places_of_the_maxima_take_the_place_of_what_was_pooled() -> None:
    before, after = pair(), rewrite(pair())
    assert set(before.saved) - set(after.saved) == {"conv1_2", "conv2_2"}
    assert set(after.saved) - set(before.saved) == {"pool1:places", "pool2:places"}
    assert outputs(after.forward) == [*TAPS, "pool1:places", "pool2:places"]
    assert {v.name for v in after.backward.graph.input} == {f"gy:{tap}" for tap in TAPS} | set(after.saved)
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in after.forward.graph.output}
    assert sizes["pool1:places"] == [1, 6, 20, 28]
    spreads = [attributes(n)["spread"] for n in after.backward.graph.node]
    assert spreads == ["none", "positive", "none", "positive", "none"]


def test_a_tensor_is_handed_out_that_is_a_tap_too() -> None:
    made = rewrite(pair(["conv1_2", "conv3_1"]))
    assert outputs(made.forward)[:2] == ["conv1_2", "conv3_1"]
    words = by_y(made.forward)
    assert words["conv1_2,pool1,pool1:places"]["pool"] == "max"
    assert not any("conv2_2" in name for name in words)


def test_average_pools_and_their_gradients() -> None:
    made = rewrite(pair(pooling="avg"))
    assert ops(made.forward) == ops(made.backward) == {f"{DOMAIN}.{OP}": 5}
    assert [attributes(n)["spread"] for n in made.backward.graph.node] == ["none", "average", "none", "average", "none"]
    assert "conv1_2" in made.saved  # its ReLU's mask


@pytest.mark.parametrize("relu", ["deconvnet", "guided"])
def test_the_rules_of_the_deconvnet_are_taken_up(relu: str) -> None:
    made = rewrite(pair(relu=relu))
    assert ops(made.backward) == {f"{DOMAIN}.{OP}": 5}
    assert all(attributes(n)["rectify_input"] for n in made.backward.graph.node)


def test_with_open_sizes_pools_are_not_spread() -> None:
    made = rewrite(pair(shape=(1, 3, None, None)))
    assert ops(made.forward) == {f"{DOMAIN}.{OP}": 5}
    assert ops(made.backward)[f"{DOMAIN}.MaxPoolGradient"] == 2
    assert all(attributes(n)["spread"] == "none" for n in made.backward.graph.node if n.op_type == OP)


def test_the_pair_that_was_given_is_untouched() -> None:
    given = pair()
    before = given.forward.SerializeToString(), given.backward.SerializeToString()
    rewrite(given)
    assert (given.forward.SerializeToString(), given.backward.SerializeToString()) == before


@pytest.mark.parametrize(
    ("shape", "stated"),
    [
        ((4, 3, 5, 5), {}),
        ((4, 3, 1, 1), {}),
        ((4, 3, 3, 3), {"strides": [2, 2]}),
        ((4, 3, 3, 3), {"dilations": [2, 2]}),
        ((3, 1, 3, 3), {"group": 3}),
        ((4, 3, 3, 3), {"auto_pad": "SAME_UPPER"}),
    ],
    ids=str,
)
def test_other_convolutions_stay(shape: tuple[int, ...], stated: dict[str, object]) -> None:
    model = network([node("Conv", "x w", "y", **stated)], "y", {"w": weights(*shape)})
    assert list(rewrite_forward(model).graph.node) == list(model.graph.node)


def test_other_types_and_weights_from_outside_stay() -> None:
    double = network([node("Conv", "x w", "y")], "y", {"w": weights(4, 3, 3, 3)}, kind=onnx.TensorProto.DOUBLE)
    assert list(rewrite_forward(double).graph.node) == list(double.graph.node)
    computed = network([node("Neg", "v", "w"), node("Conv", "x w", "y")], "y", {"v": weights(4, 3, 3, 3)})
    assert list(rewrite_forward(computed).graph.node) == list(computed.graph.node)


def test_a_relu_that_others_hide_is_not_taken_up() -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Neg", "a", "c"), node("Relu", "b", "d")]
    made = rewrite_forward(network(nodes, "b c d", {"w": weights(4, 3, 3, 3)}, (1, 3, 12, 12)))
    assert ops(made) == {f"{DOMAIN}.{OP}": 1, "Relu": 2, "Neg": 1}
    tapped = rewrite_forward(network(nodes[:2], "a b", {"w": weights(4, 3, 3, 3)}, (1, 3, 12, 12)))
    assert ops(tapped) == {f"{DOMAIN}.{OP}": 1, "Relu": 1}


@pytest.mark.parametrize(
    "stated",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2]},
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    ],
    ids=str,
)
def test_other_pools_stay(stated: dict[str, object]) -> None:
    nodes = [node("Conv", "x w", "a"), node("MaxPool", "a", "b", **stated)]
    assert ops(rewrite_forward(network(nodes, "b", {"w": weights(4, 3, 3, 3)})))["MaxPool"] == 1


@pytest.mark.parametrize("filters", [1, 63, 64, 65, 130])
def test_packed_weights(filters: int) -> None:
    weight = weights(filters, 5, 3, 3).astype(np.float32)
    made = packed(weight)
    assert made.shape == (-(-filters // 64), 3, 3, 5, 64)
    back = made.transpose(0, 4, 3, 1, 2).reshape(-1, 5, 3, 3)
    np.testing.assert_array_equal(back[:filters], weight)
    assert not back[filters:].any()


def pointwise(pads: int = 0, shape: tuple[int, ...] = (1, 3, 40, 40), taps: str = "y"):
    """The pair of a 3x3 convolution, a ReLU and a 1x1 convolution, and a tap behind each or the last alone."""
    nodes = [node("Conv", "x v", "a", pads=[1] * 4), node("Relu", "a", "b"), node("Conv", "b w", "c", pads=[pads] * 4)]
    fixed = {"v": weights(8, 3, 3, 3), "w": weights(5, 8, 1, 1)}
    return differentiate(network([*nodes, node("Relu", "c", "y")], taps, fixed, shape), taps.split(), shape)


def test_a_1x1_convolution_at_the_end_and_its_gradient() -> None:
    made = rewrite(pointwise(taps="c"))
    assert ops(made.forward) == {f"{DOMAIN}.{OP}": 1, f"{DOMAIN}.{POINTWISE}": 1}
    assert ops(made.backward) == {f"{DOMAIN}.{OP}": 1, f"{DOMAIN}.{POINTWISE}": 1}
    (forward,) = (n for n in made.forward.graph.node if n.op_type == POINTWISE)
    assert attributes(forward) == {"rectify_input": 0}
    sizes = {t.name: list(t.dims) for t in [*made.forward.graph.initializer, *made.backward.graph.initializer]}
    assert sizes["w:matrix"] == [5, 8]
    assert [8, 5] in sizes.values()  # turned, for the gradient


def test_a_1x1_convolution_in_the_middle_stays_but_its_gradient_takes_up_the_mask() -> None:
    made = rewrite(pointwise())
    assert ops(made.forward) == {f"{DOMAIN}.{OP}": 1, "Conv": 1, "Relu": 1}
    assert ops(made.backward) == {f"{DOMAIN}.{OP}": 1, f"{DOMAIN}.{POINTWISE}": 1}
    (backward,) = (n for n in made.backward.graph.node if n.op_type == POINTWISE)
    assert list(backward.input)[2:] == ["", "y"]


@pytest.mark.parametrize("shape", [(1, 3, 31, 33), (1, 3, None, None)], ids=["small", "open"])
def test_1x1_convolutions_on_few_positions_or_on_who_knows_how_many_stay(shape: tuple[int, ...]) -> None:
    made = rewrite(pointwise(shape=shape, taps="c"))
    assert not (ops(made.forward) + ops(made.backward))[f"{DOMAIN}.{POINTWISE}"]


def test_a_1x1_convolution_with_pads_stays() -> None:
    assert not ops(rewrite(pointwise(pads=1, taps="c")).forward)[f"{DOMAIN}.{POINTWISE}"]
