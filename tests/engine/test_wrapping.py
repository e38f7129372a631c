"""Networks on a torus: the features of an endless tiling, wherever the tiling is cut."""

import numpy as np
import onnx
import pytest
from architectures import light, with_weights
from kernels.checks import Tolerance, randoms, slope
from onnx import TensorProto, helper, numpy_helper
from stylogram.errors import Error
from stylogram.losses import bordered_tv
from stylogram.session import FeaturePass, features_of
from stylogram.wrapping import period, wrapped
from stylogram_export.layers import discover
from stylogram_export.prepare import prepare
from stylogram_export.specialise import specialise

from engine import nets

SUMMED = Tolerance(3e-6, "float32 convolutions, added up in another order for another size")
TIMES = 5  # the middle tile of so many by so many sees none of the tiling's edges


def graph(*nodes, channels=8, sizes=(), outputs=("out",)):
    """A network of some nodes; `sizes`: (name, shape) of its weights."""
    weights = [numpy_helper.from_array(randoms(*shape, seed=i) / 4, name) for i, (name, shape) in enumerate(sizes)]
    weights += [numpy_helper.from_array(np.array([0, 0, 1, 2, 0, 0, 2, 1], np.int64), "pads")]
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    body = helper.make_graph(list(nodes), "net", [picture], made, weights)
    return prepare(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def node(op, source, made, *more, **stated):
    return helper.make_node(op, [source, *more], [made], made, **stated)


NETWORKS = {
    "valid, stride, ceil": graph(
        node("Conv", "x", "a", "w", kernel_shape=[7, 7], strides=[2, 2]),
        node("MaxPool", "a", "b", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("Relu", "b", "out"),
        sizes=[("w", (8, 3, 7, 7))],
    ),
    "pads that reach further than the window": graph(
        node("Conv", "x", "a", "w", kernel_shape=[1, 1], pads=[1, 1, 1, 1]),
        node("Conv", "x", "b", "w2", kernel_shape=[3, 3], pads=[2, 0, 2, 4]),
        node("Concat", "a", "out", "b", axis=1),
        sizes=[("w", (4, 3, 1, 1)), ("w2", (4, 3, 3, 3))],
    ),
    "dilation, even kernel": graph(
        node("Conv", "x", "a", "w", kernel_shape=[4, 2], dilations=[2, 3], pads=[3, 1, 3, 2]),
        node("AveragePool", "a", "out", kernel_shape=[2, 2], strides=[2, 2]),
        sizes=[("w", (8, 3, 4, 2))],
    ),
    "gaps": graph(
        node("Conv", "x", "a", "w", kernel_shape=[1, 1], strides=[2, 2]),
        node("AveragePool", "a", "out", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        sizes=[("w", (8, 3, 1, 1))],
    ),
    "same": graph(
        node("Conv", "x", "a", "w", kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Conv", "a", "out", "w2", kernel_shape=[4, 3], auto_pad="SAME_LOWER"),
        sizes=[("w", (8, 3, 3, 4)), ("w2", (8, 8, 4, 3))],
    ),
    "a pad of its own": graph(
        node("Pad", "x", "p", "pads"),
        node("Conv", "p", "out", "w", kernel_shape=[3, 5], pads=[0, 0, 0, 1]),
        sizes=[("w", (8, 3, 3, 5))],
    ),
}


def check(got, model, picture):
    """`got` by tap against the middle tile of a large tiling, which the network sees without any wrapping."""
    large = features_of(model, list(got), np.tile(picture, (1, 1, TIMES, TIMES)))
    for tap, features in got.items():
        rows, columns = (slice(TIMES // 2 * count, (TIMES // 2 + 1) * count) for count in features.shape[2:])
        SUMMED.check(features, large[tap][:, :, rows, columns].astype(np.float64))


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_an_endless_tiling(name):
    model, picture = NETWORKS[name], randoms(1, 3, 24, 32)
    check(features_of(wrapped(model, ["out"], (24, 32)), ["out"], picture), model, picture)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "squeezenet", "resnet50", "inception_v1", "zfnet512"])
def test_real_architectures(name):
    """The stem and the second stage: groups, LRN, uneven pools, branches, shortcuts."""
    model = prepare(with_weights(light(name)))
    layers = discover(model)
    taps = [layers.tensor(layer) for layer in layers.names if layer.startswith(("conv1", "conv2"))][:2]
    side = period(model, taps) * 6
    picture = randoms(1, 3, side, side) * 50
    check(features_of(wrapped(model, taps, (side, side)), taps, picture), model, picture)


def test_a_tile_smaller_than_a_window_goes_around_several_times():
    model = NETWORKS["valid, stride, ceil"]
    picture = randoms(1, 3, 4, 4)
    got = features_of(wrapped(model, ["out"], (4, 4)), ["out"], picture)["out"]
    expected = features_of(model, ["out"], np.tile(picture, (1, 1, 6, 6)))["out"]
    assert got.shape[2:] == (1, 1)
    SUMMED.check(got, expected[:, :, 2:3, 2:3].astype(np.float64))


def test_a_cyclic_shift_shifts_features_and_gradient():
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in network.layers.style]
    step = period(network.model, taps)
    assert step == 16
    shape = (1, 3, 3 * step, 2 * step)
    model = wrapped(network.model, taps, shape[2:])
    work = FeaturePass(model, taps, shape, convolution="direct")  # Winograd's tiles are not shifted by every pixel
    picture, seeds = randoms(*shape), {tap: randoms(*work.features[tap].shape, seed=i) for i, tap in enumerate(taps)}

    def both(rows, columns):
        """Features and gradient for picture and incoming gradients that are shifted by so many pixels."""
        work.picture[:] = np.roll(picture, (rows, columns), (2, 3))
        work.forward()
        for tap in taps:
            scale = shape[2] // seeds[tap].shape[2]
            work.gradients[tap][:] = np.roll(seeds[tap], (rows // scale, columns // scale), (2, 3))
        work.backward()
        return {tap: work.features[tap].copy() for tap in taps}, work.gradient.copy()

    features, gradient = both(0, 0)
    for rows, columns in ((step, 0), (0, step), (2 * step, step)):
        shifted, moved = both(rows, columns)
        for tap in taps:
            scale = shape[2] // shifted[tap].shape[2]
            np.testing.assert_array_equal(
                shifted[tap], np.roll(features[tap], (rows // scale, columns // scale), (2, 3))
            )
        SUMMED.check(moved, np.roll(gradient, (rows, columns), (2, 3)).astype(np.float64))
        with pytest.raises(AssertionError):
            SUMMED.check(moved, gradient.astype(np.float64))


def test_standard_operators_of_opset_18_only():
    model = wrapped(NETWORKS["valid, stride, ceil"], ["out"], (24, 32))
    assert {entry.version for entry in model.opset_import} == {18}
    assert not any(n.op_type == "Pad" for n in model.graph.node)
    onnx.checker.check_model(specialise(model, (1, 3, 24, 32)))


def test_what_cannot_be_wrapped_is_said():
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], "f4"), "scales")
    model = graph(node("Conv", "x", "a", "w", kernel_shape=[1, 1]), sizes=[("w", (4, 3, 1, 1))], outputs=("a",))
    model.graph.node.append(helper.make_node("Resize", ["a", "", "scales"], ["out"], "up"))
    model.graph.initializer.append(scales)
    with pytest.raises(Error, match=r"\[Resize\] node 'up' has no meaning on a torus; accepted: Conv, MaxPool"):
        period(model, ["out"])
    with pytest.raises(Error, match=r"multiples of 4, the network's stride, got 32x26; instead of 26: 24 or 28"):
        wrapped(NETWORKS["valid, stride, ceil"], ["out"], (26, 32))
    padded = graph(node("Pad", "x", "p", "pads"), node("Relu", "p", "out"))
    with pytest.raises(Error, match=r"\[Relu\] node 'out' reads what a Pad made"):
        wrapped(padded, ["out"], (24, 32))


@pytest.mark.parametrize("border", bordered_tv.BORDERS)
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_bordered_tv(border, power):
    """Against the reference, that against differences, and on the torus nothing depends on where the edge is."""
    picture = randoms(2, 3, 6, 7)
    at, direction = picture.astype(np.float64), randoms(2, 3, 6, 7, seed=1).astype(np.float64)
    value, gradient = np.ones(2), np.ones_like(picture)
    bordered_tv.Term(picture.shape, 0.7, power, border).add(picture, gradient, value)
    expected, slopes = bordered_tv.reference(at, power, 0.7, border)
    rounding = Tolerance(2e-6, "float32 differences, and their root")
    rounding.check(value - 1, expected)
    rounding.check(gradient - 1, slopes)
    with pytest.raises(AssertionError):
        rounding.check((gradient - 1) * np.float32(1.001), slopes)
    along = slope(lambda moved: bordered_tv.reference(moved, power, 0.7, border)[0], at, direction)
    assert np.vdot(slopes, direction) == pytest.approx(along, rel=1e-6)
    shifted, moved = bordered_tv.reference(np.roll(at, (2, 3), (2, 3)), power, 0.7, border)
    same = np.allclose(shifted, expected) and np.allclose(moved, np.roll(slopes, (2, 3), (2, 3)))
    assert same == (border == "wrap")


def test_bordered_tv_is_the_plain_one_where_nothing_is_beyond():
    """p = 2 with repeated edges: the sum of all squared differences."""
    picture = randoms(1, 3, 5, 8).astype(np.float64)
    value, _ = bordered_tv.reference(picture, 2.0, 1.0, "edge")
    assert value[0] == pytest.approx(sum((np.diff(picture, axis=axis) ** 2).sum() for axis in (2, 3)))


def test_bordered_tv_refuses_other_borders():
    with pytest.raises(Error, match=r"unknown border of tv 'warp'; accepted: wrap, edge"):
        bordered_tv.Term((1, 3, 8, 8), 1.0, 2.0, "warp")
