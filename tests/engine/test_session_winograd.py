"""Features and gradients with Winograd's convolutions against those of ONNX Runtime's own; the switch between them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import light, with_weights
from graphs import network, node, weights
from kernels.checks import machine
from stylogram import _core, session
from stylogram.errors import Error
from stylogram.session import FeaturePass, features_of, uses_winograd
from stylogram_export import differentiate, winograd
from stylogram_export.network import folded
from stylogram_export.prepare import prepare

from engine import nets

FEATURES = 1e-5  # relative error at a layer: about 1e-7 a convolution, and they add up
GRADIENT = 1e-4  # what is promised where no ReLU and no maximum changes sides; 3e-6 is what is measured
TAPS = ["conv1_1", "conv2_1", "conv3_1", "conv4_2", "conv5_1"]


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got.astype(np.float64) - wanted) / np.linalg.norm(wanted))


def both(model, taps, shape, relu="gradient", seed=0):
    """One pass of each kind over the same pictures and gradients."""
    rng = np.random.default_rng(seed)
    picture = rng.random(shape, np.float32)
    made = {}
    for kind in ("direct", "winograd"):
        work = made[kind] = FeaturePass(model, taps, shape, relu=relu, convolution=kind)
        work.picture[:] = picture
        work.forward()
        for at, tap in enumerate(taps):
            given = np.random.default_rng(at).standard_normal(work.gradients[tap].shape, np.float32)
            work.gradients[tap][:] = given / np.linalg.norm(given)
        work.backward()
    return made["direct"], made["winograd"]


def compare(direct: FeaturePass, ours: FeaturePass, of_pixels: float = 0.9) -> None:
    """Features all over; the gradient too but for the neighbourhood of a kink that rounding has crossed."""
    for tap in direct.taps:
        assert relative(ours.features[tap], direct.features[tap]) < FEATURES, tap
    difference = np.abs(ours.gradient - direct.gradient)
    scale = np.sqrt(np.mean(np.square(direct.gradient, dtype=np.float64)))
    assert scale > 0
    assert np.quantile(difference, of_pixels) < GRADIENT * scale
    with pytest.raises(AssertionError):
        assert np.quantile(np.abs(1.001 * ours.gradient - direct.gradient), of_pixels) < GRADIENT * scale


@pytest.mark.parametrize("relu", ["gradient", "deconvnet", "guided"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("shape", [(1, 3, 32, 48), (2, 3, 37, 51)], ids=str)
def test_a_vgg(shape, pooling, relu) -> None:
    network = nets.narrow(pooling=pooling)
    compare(*both(folded(network, TAPS), TAPS, shape, relu))


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("taps", [["conv1_2", "conv2_2", "conv4_4"], ["conv2_1:linear", "pool2", "conv3_1"]], ids=str)
def test_taps_before_pools_and_relus(taps, pooling) -> None:
    network = nets.narrow(pooling=pooling)
    compare(*both(folded(network, taps), taps, (1, 3, 33, 46)))


@pytest.mark.parametrize(("name", "tap"), [("squeezenet", "Concat"), ("inception_v1", "Concat"), ("vgg19", "Relu")])
def test_networks_of_many_kinds_of_layers(name: str, tap: str) -> None:
    model = prepare(with_weights(light(name)))
    found = [node.output[0] for node in model.graph.node if node.op_type == tap][:4]
    compare(*both(model, [found[0], found[-1]], (1, 3, 224, 224) if name == "vgg19" else (1, 3, 67, 71)))


@pytest.mark.parametrize("level", [level for level in _core.simd_levels() if level != "generic"])
def test_the_linear_part_alone_is_right(level: str) -> None:
    """From the same activations and places of maxima: no kink can be crossed."""
    shape = (1, 3, 64, 96)
    pair = differentiate(folded(nets.narrow(), TAPS), TAPS, shape)
    ours = winograd.rewrite(pair)
    x = np.random.default_rng(0).random(shape, np.float32)
    known = _run(pair.forward, {pair.forward.graph.input[0].name: x})
    for value in ours.backward.graph.input:
        if value.name.endswith(":places"):
            known[value.name] = _places(
                known[f"conv{value.name[4]}_{ {'1': 2, '2': 2, '3': 4, '4': 4}[value.name[4]] }"]
            )
    known |= {f"gy:{tap}": np.random.default_rng(1).standard_normal(known[tap].shape, np.float32) for tap in TAPS}
    wanted = _run(pair.backward, known)["gx"]
    with machine(level=level):
        got = _run(ours.backward, known)["gx"]
    assert relative(got, wanted) < 1e-5 < GRADIENT
    assert relative(1.001 * got, wanted) > GRADIENT


def _places(y: np.ndarray) -> np.ndarray:
    n, c, height, width = y.shape
    four = (
        y.reshape(n, c, height // 2, 2, width // 2, 2)
        .transpose(0, 1, 2, 4, 3, 5)
        .reshape(n, c, height // 2, width // 2, 4)
    )
    return (four.argmax(axis=-1) + 4 * (four.max(axis=-1) > 0)).astype(np.uint8)


def _run(model: onnx.ModelProto, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    run = session.open_session(model, 2)
    names = [value.name for value in run.get_outputs()]
    return dict(zip(names, run.run(names, {v.name: known[v.name] for v in run.get_inputs()}), strict=True))


def test_a_batch_gives_each_picture_what_it_gets_alone() -> None:
    model = folded(nets.narrow(), TAPS)
    x = np.random.default_rng(0).random((3, 3, 33, 47), np.float32)
    together = FeaturePass(model, TAPS, x.shape, convolution="winograd")
    alone = FeaturePass(model, TAPS, (1, *x.shape[1:]), convolution="winograd")
    together.picture[:] = x
    together.forward()
    alone.picture[:] = x[1:2]
    alone.forward()
    for tap in TAPS:
        np.testing.assert_array_equal(together.features[tap][1:2], alone.features[tap])


def test_features_once_are_those_of_the_pass() -> None:
    model = folded(nets.narrow(), TAPS)
    x = np.random.default_rng(0).random((1, 3, 33, 47), np.float32)
    work = FeaturePass(model, TAPS, x.shape, convolution="winograd")
    work.picture[:] = x
    work.forward()
    for tap, once in features_of(model, TAPS, x, convolution="winograd").items():
        np.testing.assert_array_equal(once, work.features[tap])


def test_auto_is_winograd_where_there_are_wide_vectors() -> None:
    for level in _core.simd_levels():
        with machine(level=level):
            assert uses_winograd() == uses_winograd("auto") == (level != "generic")
            assert uses_winograd("winograd")
            assert not uses_winograd("direct")


def test_the_environment_chooses_where_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")
    assert not uses_winograd()
    assert uses_winograd("winograd")
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "fft")
    with pytest.raises(Error, match="unknown convolution 'fft'; accepted: auto, direct, winograd"):
        uses_winograd()


def test_where_the_op_is_missing_auto_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, path: str) -> None:
        raise RuntimeError("no custom ops\nin this build")

    monkeypatch.setattr(onnxruntime.SessionOptions, "register_custom_ops_library", refuse)
    session._refusal.cache_clear()
    try:
        assert not uses_winograd("auto")
        model = folded(nets.narrow(), TAPS)
        FeaturePass(model, TAPS, (1, 3, 32, 32)).forward()
        with pytest.raises(Error, match=r"does not take winograd's op: no custom ops in this build$"):
            FeaturePass(model, TAPS, (1, 3, 32, 32), convolution="winograd")
    finally:
        session._refusal.cache_clear()


def test_1x1_convolutions_from_three_channels_on() -> None:
    """Their gradient is a ConvTranspose where few channels are left, a Conv elsewhere: both become PointwiseConv."""
    nodes = [node("Conv", "x v", "a"), node("Relu", "a", "b"), node("Conv", "b w", "y")]
    model = network(nodes, "y", {"v": weights(8, 3, 1, 1), "w": weights(5, 8, 1, 1, seed=1)}, (1, 3, 40, 40))
    made = winograd.rewrite(differentiate(model, ["y"], (1, 3, 40, 40))).backward
    assert [n.op_type for n in made.graph.node] == ["PointwiseConv", "PointwiseConv"]
    compare(*both(model, ["y"], (1, 3, 40, 40)))
