"""The tiles of a picture: which positions they own, what they see of the picture, and which networks can have them."""

import numpy as np
import pytest
from architectures import light, with_weights
from onnx import helper
from stylogram.errors import Error
from stylogram.session import Extractor, features_of
from stylogram.tiling import PART, Layout, Reach, axis, parts
from stylogram_export.network import folded
from stylogram_export.prepare import prepare

from engine import nets

REACHES = [Reach(1, 2, 2), Reach(16, 70, 70), Reach(8, 0, 3), Reach(32, 150, 33)]


@pytest.mark.parametrize("reach", REACHES, ids=str)
def test_an_axis_is_cut_without_a_gap_and_every_core_sees_what_it_needs(reach):
    for length in (1, 15, 16, 47, 160, 161, 333, 512, 1000, 4096, 5003):
        for core in (1, 16, 33, 64, 250, 512, 9999):
            made = axis(length, reach, core)
            count = len(made.starts)
            assert made.bounds[0] == made.starts[0] == 0
            assert made.bounds[-1] == length == made.starts[-1] + made.length
            assert len(made.bounds) == count + 1
            assert all(start % reach.step == 0 for start in made.starts)
            assert (length - made.length) % reach.step == 0
            for number, start in enumerate(made.starts):
                first, end = made.bounds[number : number + 2]
                assert first < end
                assert number == 0 or start <= first - reach.before
                assert number == count - 1 or end + reach.after <= start + made.length
                assert number in (0, count - 1) or end - first <= max(core, 1) + reach.step


def test_a_picture_that_fits_is_one_tile():
    assert axis(300, Reach(16, 70, 70), 200) == axis(300, Reach(16, 70, 70), 9999)
    assert len(axis(300, Reach(16, 70, 70), 200).starts) == 1


def test_vgg_s_reach():
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv5_1")]
    assert Layout(folded(network, taps), taps, (300, 200)).reaches == (Reach(16, 70, 70),) * 2
    assert Layout(folded(network, taps[:1]), taps[:1], (300, 200)).reaches == (Reach(1, 1, 1),) * 2


def compare(model, taps, size, core):
    """What the tiles own is what the whole picture has there, every position once."""
    picture = np.random.default_rng(0).random((1, 3, *size), np.float32)
    whole = features_of(model, taps, picture, convolution="direct")
    plan = Layout(model, taps, size).plan(core)
    assert len(plan.tiles) > 3
    assert plan.shapes == {tap: own.shape for tap, own in whole.items()}
    seen = {tap: np.zeros(own.shape[2:], int) for tap, own in whole.items()}
    tile = Extractor(model, taps, (1, 3, *plan.size), convolution="direct")
    for one in plan.tiles:
        tile.picture[:] = picture[(slice(None), slice(None), *one.pixels)]
        tile.forward()
        for tap in taps:
            owned = one.owned[tap]
            seen[tap][owned.whole] += 1
            for part, features in parts(tile.features[tap], owned):
                wanted = whole[tap][(0, slice(None), *part.whole)]
                np.testing.assert_allclose(features[0].reshape(wanted.shape), wanted, atol=1e-5, rtol=1e-5)
    assert all((count == 1).all() for count in seen.values())


@pytest.mark.parametrize("size", [(256, 301), (333, 247)], ids=str)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_what_tiles_own_are_the_features_of_the_whole_picture(size, pooling):
    network = nets.narrow(pooling=pooling)
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_2", "conv4_2", "pool4", "conv5_1")]
    compare(folded(network, taps), taps, size, 48)


def test_parts_are_no_larger_than_a_part_or_a_row():
    network = nets.narrow()
    tap = network.layers.tensor("conv1_1")
    plan = Layout(folded(network, [tap]), [tap], (64, 80)).plan(32)
    features = np.arange(100 * plan.size[0] * plan.size[1], dtype=np.float32).reshape(1, 100, *plan.size)
    features = np.repeat(features, 20, axis=1)
    owned = plan.tiles[-1].owned[tap]
    runs = list(parts(features, owned))
    assert len(runs) > 1
    assert all(own.size <= PART for _, own in runs)
    assert runs[0][0].whole[0].start == owned.whole[0].start
    assert runs[-1][0].whole[0].stop == owned.whole[0].stop
    together = np.concatenate([own[0].reshape(2000, -1, runs[0][1].shape[2] // _rows(runs[0])) for _, own in runs], 1)
    assert np.array_equal(together, features[(0, slice(None), *owned.inside)])


def _rows(run):
    return run[0].inside[0].stop - run[0].inside[0].start


CONV = helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1, 1, 1, 1])
WEIGHT = {"w": np.random.default_rng(0).standard_normal((4, 3, 3, 3))}
WHOLE = {
    "sees the whole picture": [
        (helper.make_node("InstanceNormalization", ["c", "one", "one"], ["y"], "norm"), {"one": np.ones(4)}),
        (helper.make_node("GlobalAveragePool", ["c"], ["y"], "mean"), {}),
        (helper.make_node("Softmax", ["c"], ["y"], "soft", axis=3), {}),
    ],
    "has a constant of its own for every place": [
        (helper.make_node("Add", ["c", "place"], ["y"], "places"), {"place": np.ones((1, 1, 1, 96))}),
    ],
    "cuts rows or columns off": [
        (helper.make_node("Slice", ["c", "start", "end", "axes"], ["y"], "crop"), {}),
    ],
    "joins along rows or columns": [(helper.make_node("Concat", ["c", "c"], ["y"], "join", axis=-1), {})],
}


@pytest.mark.parametrize(("reason", "node", "constants"), [(r, *case) for r, own in WHOLE.items() for case in own])
def test_a_network_that_sees_more_is_refused_with_its_node(reason, node, constants):
    network = nets.by_hand(CONV, node, constants={**WEIGHT, **constants})
    if node.op_type == "Slice":
        integers = {"start": [2], "end": [90], "axes": [3]}
        network.model.graph.initializer.extend(
            helper.make_tensor(name, 7, [1], value) for name, value in integers.items()
        )
    with pytest.raises(Error, match=f"tile: .{node.op_type}. node '{node.name}' {reason}.*; accepted: ") as raised:
        Layout(network.model, ["y"], (96, 96))
    assert "\n" not in str(raised.value)


def _enlarging(node, weights):
    """A convolution of stride 2, what enlarges its output, another convolution."""
    first = helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1, 1, 1, 1], strides=[2, 2])
    last = helper.make_node("Conv", ["u", "w2"], ["y"], "second", pads=[1, 1, 1, 1])
    random = np.random.default_rng(1).standard_normal((2, 4, 3, 3))
    return nets.by_hand(first, node, last, constants={**WEIGHT, "w2": random, **weights}).model


def _resize(scale, mode):
    node = helper.make_node("Resize", ["c", "", "scales"], ["u"], "larger", mode=mode)
    return _enlarging(node, {"scales": [1, 1, scale, scale]})


def test_a_resize_by_a_ratio_is_refused():
    with pytest.raises(Error, match="'larger' resizes by the picture's size or by a ratio"):
        Layout(_resize(1.5, "linear"), ["y"], (96, 96))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_resize_by_a_whole_number(mode):
    compare(_resize(2, mode), ["y"], (96, 131), 16)


def test_a_transposed_convolution():
    weight = np.random.default_rng(2).standard_normal((4, 4, 4, 4))
    node = helper.make_node("ConvTranspose", ["c", "t"], ["u"], "larger", strides=[2, 2], pads=[1, 1, 1, 1])
    compare(_enlarging(node, {"t": weight}), ["c", "y"], (96, 131), 16)


def test_pads_by_same_of_an_odd_size():
    """SAME_UPPER pads by what the picture's size asks for."""
    first = helper.make_node("Conv", ["x", "w"], ["c"], "first", auto_pad="SAME_UPPER", strides=[2, 2])
    pool = helper.make_node("MaxPool", ["c"], ["y"], "pool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    for size in ((97, 130), (98, 131), (99, 128)):
        compare(nets.by_hand(first, pool, constants=WEIGHT).model, ["c", "y"], size, 16)


def test_branches_and_normalisation_across_channels():
    """GoogLeNet: LRN, pools that overlap and hang over, and branches of several reaches that meet."""
    model = prepare(with_weights(light("inception_v1")))
    taps = [node.output[0] for node in model.graph.node if node.op_type in ("LRN", "Concat")][:4]
    compare(model, taps, (300, 279), 64)
