"""Projections by hand: three rules, switches, many units in a batch; what a unit sees, pixel by pixel."""

import numpy as np
import pytest
from onnx import helper
from stylogram.project import Kept, Projector
from stylogram.session import features_of
from stylogram.tiles import Box, box, cropped, stretched
from stylogram_export.network import folded
from stylogram_export.receptive import Field, fields
from stylogram_export.specialise import specialise

from engine import nets

COUNTS, WIDTHS = (1, 1, 1), (6, 8, 10)


def projected(net, picture, place, value=1.0, rule="deconvnet", unit=0):
    """One projection (3,H,W) of a picture (3,H,W), by plain convolutions: to the bit what is counted by hand."""
    projector = Projector(net, "y", picture.shape[1], rule, 2, convolution="direct")
    ((tag, found),) = projector.run([(picture[None], [Kept("tag", unit, place, value)])])
    assert tag == "tag"
    return found


def test_a_convolution_of_ones_by_hand():
    """4x4 through a 3x3 of ones is 2x2: the second place sees rows 0-2, columns 1-3, and its value goes back there."""
    net = nets.by_hand(
        helper.make_node("Conv", ["x", "w"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
        constants={"w": np.ones((1, 3, 3, 3))},
    )
    expected = np.array([[0, 2.5, 2.5, 2.5], [0, 2.5, 2.5, 2.5], [0, 2.5, 2.5, 2.5], [0, 0, 0, 0]])
    for rule in ("deconvnet", "guided", "gradient"):
        found = projected(net, np.full((3, 4, 4), 0.3, "f4"), 1, 2.5, rule)
        assert np.array_equal(found, np.broadcast_to(expected, (3, 4, 4)))


# Two channels a = relu(s - 0.5), b = relu(0.5 - s) of the red value s; the unit is 2a - b over a row of three.
RULES = {
    "deconvnet": [[2, 2, 2]],  # the ReLU of what comes down: 2 for a, 0 for b, whatever s is
    "gradient": [[2, 1, 2]],  # d(2a)/ds = 2 where s > 0.5; d(-b)/ds = 1 where s < 0.5
    "guided": [[2, 0, 2]],  # what comes down for b is negative, and a's ReLU was off in the middle
}


@pytest.mark.parametrize("rule", RULES)
def test_the_three_rules_by_hand(rule):
    split = np.zeros((2, 3, 1, 1))
    split[:, 0, 0, 0] = 1, -1
    over = np.ones((1, 2, 1, 3)) * np.array([2, -1]).reshape(1, 2, 1, 1)
    net = nets.by_hand(
        helper.make_node("Conv", ["x", "split", "shift"], ["ab"]),
        helper.make_node("Relu", ["ab"], ["on"]),
        helper.make_node("Conv", ["on", "over"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
        constants={"split": split, "shift": [-0.5, 0.5], "over": over},
    )
    picture = np.zeros((3, 3, 3), "f4")
    picture[0, 1] = 0.9, 0.2, 0.8
    found = projected(net, picture, 1, 1.0, rule)
    assert np.array_equal(found[0, 1:2], np.array(RULES[rule], "f4"))
    assert not found[1:].any()
    assert not found[0, [0, 2]].any()


def pooled():
    """5x5 -> overlapping 3x3 windows, stride 2 -> 2x2 -> their sum."""
    red = np.zeros((1, 3, 1, 1))
    red[0, 0] = 1
    return nets.by_hand(
        helper.make_node("Conv", ["x", "red"], ["z1"]),
        helper.make_node("MaxPool", ["z1"], ["p"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["p", "sum"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
        constants={"red": red, "sum": np.ones((1, 1, 2, 2))},
    )


def test_switches_of_overlapping_windows_sum():
    """The middle pixel is the maximum of all four windows: it gets four times what one would give."""
    picture = np.zeros((3, 5, 5), "f4")
    picture[0, 2, 2], picture[0, 0, 0] = 0.9, 0.4
    expected = np.zeros((5, 5), "f4")
    expected[2, 2] = 4 * 0.5
    assert np.array_equal(projected(pooled(), picture, 0, 0.5)[0], expected)


def test_switches_with_ties_go_to_the_first():
    """All pixels are equal: the first of each window, in rows, has the switch; none gets it twice."""
    expected = np.zeros((5, 5), "f4")
    expected[::2, ::2][:2, :2] = 0.5
    assert np.array_equal(projected(pooled(), np.full((3, 5, 5), 0.7, "f4"), 0, 0.5)[0], expected)


def test_many_units_in_one_batch_are_what_each_is_alone():
    """Pictures and units in any order, more than fit into one backward pass: the last one is not full."""
    net = nets.narrow(nets.weights(COUNTS, WIDTHS), COUNTS)
    rng = np.random.default_rng(0)
    shown = [rng.random((3, 32, 32), np.float32) for _ in range(3)]
    wanted = [(0, 3, 5), (0, 1, 20), (1, 3, 5), (1, 7, 63), (1, 0, 0), (2, 9, 33), (2, 3, 5)]
    projector = Projector(net, net.layers.tensor("conv3_1"), 32, "deconvnet", 4)
    assert projector.slots == 4
    looked = [(shown[n][None], [Kept((m, u, p), u, p, 2.0) for m, u, p in wanted if m == n]) for n in range(len(shown))]
    together = dict(projector.run(looked))
    alone = Projector(net, net.layers.tensor("conv3_1"), 32, "deconvnet", 1)
    assert len(together) == len(wanted)
    for n, unit, place in wanted:
        ((_, one),) = alone.run([(shown[n][None], [Kept(None, unit, place, 2.0)])])
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(together[n, unit, place], one, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_winograd_projects_what_plain_convolutions_do(rule):
    net = nets.narrow(nets.weights(COUNTS, WIDTHS), COUNTS)
    rng = np.random.default_rng(1)
    looked = [(rng.random((1, 3, 32, 32), np.float32), [Kept(k, k, 20, 1.0) for k in range(10)]) for _ in range(2)]
    plain, ours = (
        [made for _, made in Projector(net, net.layers.tensor("conv3_1"), 32, rule, 8, convolution=kind).run(looked)]
        for kind in ("direct", "winograd")
    )
    assert len(ours) == len(plain) == 20
    assert sum(bool(one.any()) for one in plain) >= 8  # where a unit is off, gradient and guided pass nothing
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def shift_sum():
    """Two branches that are joined, a pool, and a convolution; all weights positive: whatever is seen counts."""
    return nets.by_hand(
        helper.make_node("Conv", ["x", "narrow"], ["a"], strides=[2, 2]),
        helper.make_node("Conv", ["x", "wide"], ["b"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Concat", ["a", "b"], ["ab"], axis=1),
        helper.make_node("MaxPool", ["ab"], ["p"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        helper.make_node("Conv", ["p", "top"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["z"], ["y"]),
        constants={
            "narrow": np.ones((1, 3, 1, 1)), "wide": np.ones((1, 3, 5, 5)), "top": np.ones((1, 2, 3, 3)),
        },
    )  # fmt: skip


# Plain convolutions leave an exact 0 outside. Winograd's transforms mix the 6x6 inputs of a tile: what a unit does not
# see cancels but for its rounding, some 1e-7 of what it would be.
@pytest.mark.parametrize(("convolution", "least"), [("direct", 0), ("winograd", 1e-6)])
@pytest.mark.parametrize("place", [(2, 2), (0, 0), (1, 4)])
def test_a_box_is_exactly_the_pixels_that_change_the_unit(place, convolution, least):
    net, size = shift_sum(), 32
    model = specialise(folded(net, ["y"]), (1, 3, size, size))
    shape = [one.dim_value for one in model.graph.output[0].type.tensor_type.shape.dim]
    seen = box(fields(model)["y"], place[0] * shape[3] + place[1], shape[3], size)
    many = np.zeros((size * size, 3, size, size), np.float32)
    many.reshape(size * size, 3, -1)[range(size * size), 0, range(size * size)] = 100
    felt = features_of(folded(net, ["y"]), ["y"], many, convolution=convolution)["y"][:, 0, place[0], place[1]]
    lit = np.abs(felt) > least * felt.max()
    rows, columns = np.nonzero(lit.reshape(size, size))
    inside = (max(seen.top, 0), max(seen.left, 0), seen.top + seen.height - 1, seen.left + seen.width - 1)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == inside
    assert lit.sum() == (inside[2] - inside[0] + 1) * (inside[3] - inside[1] + 1)


def test_a_crop_beyond_the_edge():
    picture = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
    beyond = Box(-1, 2, 3, 4)
    assert cropped(picture, beyond, edge=True)[:, :, 0].tolist() == [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]]
    assert cropped(picture, beyond, edge=False)[:, :, 0].tolist() == [[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]]
    assert box(Field((4.0, 4.0), None, None), 3, 2, 20) == Box(0, 0, 20, 20)


def test_a_projection_without_contrast_is_grey():
    assert np.array_equal(stretched(np.zeros((4, 4, 3), "f4")), np.full((4, 4, 3), 0.5, "f4"))
    one = np.zeros((40, 40, 3), "f4")
    one[3, 4, 1] = -1e-20  # the percentile of |.| is 0 here; the maximum is not
    assert stretched(one)[3, 4, 1] == 0
    assert stretched(one)[0, 0, 0] == 0.5
