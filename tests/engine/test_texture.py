"""texture: Gatys' loss against the paper's formula, sizes, bounds, tiles without seams, and what is refused."""

import numpy as np
import pytest
import stylogram
import torch
import torch.nn.functional as F
from architectures import light, with_weights
from engine.originals import STAGES, caffe
from stylogram import pictures
from stylogram.bounds import Clipped
from stylogram.cli import main
from stylogram.driver import Interrupted
from stylogram.errors import Error
from stylogram.options import checked
from stylogram.session import features_of
from stylogram.tasks.texture import PRESETS, Options, Synthesis, tiled_resized
from stylogram_export.layers import discover
from stylogram_export.network import Network, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from engine import nets

SIZE = (48, 64)


@pytest.fixture(scope="module")
def network():
    return nets.narrow()


@pytest.fixture(scope="module")
def source():
    return nets.blocks(*SIZE, 2, cell=3, tint=(1, 0.6, 0.3)) * np.float32(0.8) + np.float32(0.1)


def run(source, network, **options):
    return stylogram.texture(source, network=network, **{"iterations": 6} | options)


def tap(weights, z):
    """conv1_1 and the average pools of a VGG, in float64: DeepTextures' network."""
    x, found = caffe(z), {}
    for stage, count in enumerate(STAGES[:4], 1):
        for index in range(1, count + 1):
            name = f"conv{stage}_{index}"
            x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1))
            if name == "conv1_1":
                found[name] = x
        x = found[f"pool{stage}"] = F.avg_pool2d(x, 2)
    return found


def gatys(weights, z, source):
    """Σ_l 1e9 / 4 · Σ (G − A)² / C², G = F Fᵀ / M: gram_mse_loss of DeepTextures."""
    loss = 0
    with torch.no_grad():
        wanted = tap(weights, source)
    for name, features in tap(weights, z).items():
        grams = []
        for f in (features, wanted[name]):
            flat = f.flatten(2)[0]
            grams.append(flat @ flat.T / flat.shape[1])
        loss = loss + 1e9 / 4 * ((grams[0] - grams[1]) ** 2).sum() / features.shape[1] ** 2
    return loss


def test_the_preset_is_the_paper_s_program(source):
    weights = nets.weights(STAGES)
    options = Options(network=nets.narrow(weights, STAGES, "caffe"), preset="gatys", seed=3, size="80x48")
    stage = Synthesis(source, options).stage(0, None)
    double = {key: torch.from_numpy(value).double() for key, value in weights.items()}
    z = torch.from_numpy(stage.objective.picture).double().requires_grad_()
    assert z.shape == (1, 3, 48, 80)
    loss = gatys(double, z, torch.from_numpy(source).double().permute(2, 0, 1)[None] * 255)
    loss.backward()
    stage.objective.evaluate()
    # float32 features against float64; the loss is a difference of Gram matrices
    assert stage.objective.total[0] == pytest.approx(loss.item(), rel=2e-4)
    assert stage.objective.total[0] != pytest.approx(loss.item() * 1.001, rel=2e-4)
    expected = z.grad.numpy()
    assert np.linalg.norm(stage.objective.gradient - expected) / np.linalg.norm(expected) < 2e-4
    assert stage.iterations == 2000
    assert PRESETS["gatys"].optimiser.history == 20


def test_its_noise_is_standard_normal_about_the_mean():
    source = nets.blocks(64, 64, 1)
    options = Options(network=nets.narrow(preprocess="caffe"), preset="gatys", size="160x160")
    x = Synthesis(source, options).stage(0, None).objective.picture - np.reshape(
        [123.68, 116.779, 103.939], (1, 3, 1, 1)
    )
    assert np.abs(x.mean(axis=(0, 2, 3))).max() < 0.03
    assert x.std() == pytest.approx(1, rel=0.02)


def test_the_default_loss_is_relative_and_from_noise_it_falls(source, network):
    """24 · mean over layers of ‖G − A‖² / ‖A‖², by NumPy from the network's features."""
    work = Synthesis(source, Options(network=network, seed=1))
    stage = work.stage(0, None)
    stage.objective.evaluate()
    taps = work.taps.tensors
    features = [features_of(work.model, taps, p) for p in (stage.objective.picture, pictures.to_batch(source))]

    def gram(f):
        flat = f[0].reshape(f.shape[1], -1).astype(np.float64)
        return flat @ flat.T / flat.shape[1]

    terms = [
        ((gram(x) - gram(a)) ** 2).sum() / (gram(a) ** 2).sum()
        for x, a in ((features[0][t], features[1][t]) for t in taps)
    ]
    assert stage.objective.total[0] == pytest.approx(24 * np.mean(terms), rel=2e-4)
    result = run(source, network, iterations=60)
    assert result.loss < 0.05 * result.trace[0]["loss"]


@pytest.mark.parametrize(
    ("size", "options", "shape"),
    [
        (None, {}, (48, 64)),
        (96, {}, (72, 96)),
        ("96x40", {}, (40, 96)),
        (" 40 X 96 ", {}, (96, 40)),
        (None, {"source_size": 32}, (24, 32)),
        (None, {"tileable": True}, (48, 64)),
        (None, {"tileable": True, "source_size": 90}, (64, 96)),
        (96, {"tileable": True}, (80, 96)),  # 72 is no multiple of 16: nobody asked for it
        ("32x80", {"tileable": True}, (80, 32)),
        ("100x36", {"scales": 2}, (36, 100)),
        ("96x48", {"scales": 2, "tileable": True, "margin": 0}, (48, 96)),
    ],
)
def test_any_size(source, network, size, options, shape):
    given = options if size is None else {**options, "size": size}
    assert run(source, network, iterations=2, **given).exact.shape == (*shape, 3)


@pytest.mark.parametrize(
    ("size", "scales", "count"),
    [(None, None, 3), ("448x256", None, 3), (112, None, 1), ("600x100", None, 1), (1024, None, 3), (112, 2, 2)],
)
def test_no_scale_is_smaller_than_a_network_can_see(network, size, scales, count):
    """Of a source of 512 pixels: 64 at least, except where more scales are asked for."""
    made = Synthesis(nets.blocks(384, 512, 1), Options(network=network, size=size, scales=scales)).sizes
    assert len(made) == count
    assert scales or min(made[0].texture) >= 64


def test_a_preset_s_layers_on_another_network(source):
    model = prepare(with_weights(light("zfnet512")))
    network = Network("zfnet512", model, PREPROCESS["caffe"], discover(model))
    with pytest.raises(
        Error, match=r"^preset: gatys takes conv1_1, .* of a VGG \(--style-layers A,B: others\); zfnet512"
    ):
        run(source, network, preset="gatys")
    made = run(source, network, preset="gatys", style_layers="conv1_1,pool1", size=64, iterations=2)
    assert made.loss < made.trace[0]["loss"]


def test_pixels_stay_within_the_source_s_colours(source, network):
    low, high = source.reshape(-1, 3).min(axis=0), source.reshape(-1, 3).max(axis=0)
    seen = []
    run(source, network, iterations=30, margin=0, callback=lambda p: seen.append(p.rgb()))
    for picture in seen:
        flat = picture.reshape(-1, 3)
        assert (flat.min(axis=0) >= low - 1e-6).all()
        assert (flat.max(axis=0) <= high + 1e-6).all()
    assert any((picture.reshape(-1, 3) == high).any() for picture in seen)  # it would go further


def test_clipped_steps():
    class Away:
        recovers = True

        def step(self, picture, gradient, value):
            picture -= gradient

    x = np.full((2, 3, 1, 1), 0.5, "f4")
    low, high = np.reshape([0.1, 0.2, 0.3], (1, 3, 1, 1)), np.reshape([0.6, 0.7, 0.8], (1, 3, 1, 1))
    optimiser = Clipped(Away(), low, high)
    assert optimiser.recovers
    optimiser.step(x, np.stack([np.full((3, 1, 1), g, "f4") for g in (9, -9)]), np.zeros(2))
    np.testing.assert_allclose(x[:, :, 0, 0], [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])


def shifted(stage, rows, columns):
    """The loss and the gradient at the stage's picture, shifted cyclically."""
    x = stage.objective.picture
    before = x.copy()
    x[:] = np.roll(before, (rows, columns), (2, 3))
    stage.objective.evaluate()
    x[:] = before
    return stage.objective.total[0], stage.objective.gradient.copy()


@pytest.mark.parametrize("tileable", [True, False])
def test_a_tile_has_no_edge(source, network, tileable):
    """With TV: a cyclic shift by multiples of the total stride leaves the loss, and only shifts the gradient."""
    options = Options(network=network, tileable=tileable, margin=0, tv_weight=5.0, size="48x64")
    stage = Synthesis(source, options).stage(0, None)
    value, gradient = shifted(stage, 0, 0)
    for rows, columns in ((16, 0), (0, 32), (48, 16)):
        other, moved = shifted(stage, rows, columns)
        error = np.linalg.norm(moved - np.roll(gradient, (rows, columns), (2, 3))) / np.linalg.norm(gradient)
        same = other == pytest.approx(value, rel=1e-6) and error < 1e-5
        assert same == tileable, (rows, columns, other, value, error)


def seam(picture):
    """The mean step over the edges that meet in a tiling, over that between neighbours inside."""
    across = np.abs(picture[0] - picture[-1]).mean() + np.abs(picture[:, 0] - picture[:, -1]).mean()
    inside = np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean()
    return across / inside


def test_a_tile_s_seams_are_no_stronger_than_the_rest(network):
    smooth = pictures.resized(nets.blocks(96, 96, 4, cell=12), (96, 96))
    options = {"size": "64x64", "iterations": 60, "scales": 2}
    tile, plain = (run(smooth, network, tileable=tileable, **options).exact for tileable in (True, False))
    assert seam(tile) < 1.2
    assert seam(plain) > 1.3  # the measure sees a seam


def test_a_tile_is_resampled_as_one():
    tile = nets.blocks(32, 48, 1, cell=8)
    whole = tiled_resized(tile, (64, 96))
    moved = tiled_resized(np.roll(tile, (16, 16), (0, 1)), (64, 96))
    np.testing.assert_allclose(np.roll(whole, (32, 32), (0, 1)), moved, atol=1e-6)


def test_histograms_become_the_source_s(source, network):
    """The sorted values are the source's, but for ties, which stay ties."""

    def apart(picture):
        return np.abs(np.sort(picture.reshape(-1, 3), axis=0) - np.sort(source.reshape(-1, 3), axis=0)).mean()

    matched, plain = (run(source, network, histogram=histogram).exact for histogram in (True, False))
    assert apart(matched) < 0.01
    assert apart(plain) > 3 * apart(matched)


def test_the_same_seed_is_the_same_picture(source, network):
    first, again, other = (run(source, network, seed=seed).exact for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01


def test_stopping_early_leaves_a_picture_of_the_size_asked_for(source, network):
    def stop(progress):
        if progress.iteration == 2:
            raise KeyboardInterrupt

    for tileable in (True, False):
        with pytest.raises(Interrupted) as caught:
            run(source, network, scales=2, size="96x64", tileable=tileable, callback=stop)
        assert caught.value.result.exact.shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "squeezenet", "inception_v1"])
def test_other_architectures(name, source):
    model = prepare(with_weights(light(name)))
    network = Network(name, model, PREPROCESS["caffe"], discover(model))
    for tileable in (False, True):
        result = run(source, network, size="128x96", source_size=128, iterations=3, tileable=tileable)
        assert result.exact.shape == (96, 128, 3)
        assert result.loss < result.trace[0]["loss"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "large"}, r"^size: pixels, or WIDTHxHEIGHT, from 16 to 65536 are accepted, got 'large'$"),
        ({"size": "640x"}, r"^size: pixels, or WIDTHxHEIGHT"),
        ({"size": "8x640"}, r"^size: pixels, or WIDTHxHEIGHT"),
        ({"size": 5}, r"^size: pixels, or WIDTHxHEIGHT"),
        ({"size": (64, 64)}, r"^size: pixels, or WIDTHxHEIGHT"),
        ({"preset": "gatis"}, r"unknown preset 'gatis'; accepted: gatys, default"),
        ({"tileable": "perhaps"}, r"^tileable: "),
        ({"source_size": 3}, r"^source-size: "),
        ({"content_weight": 1}, r"unknown option 'content_weight'"),
    ],
)
def test_bad_options(given, message):
    with pytest.raises(Error, match=message) as caught:
        checked(Options, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tileable": True, "size": "100x64"}, r"multiples of 16, the network's stride, got 100x64; .* 96 or 112$"),
        ({"tileable": True, "size": 100}, r"multiples of 16"),
        ({"tileable": True, "margin": 4}, r"^margin: a picture that tiles has no edge: 0 is accepted .* got 4$"),
        ({"style_layers": "conv9_1"}, r"unknown layer 'conv9_1'"),
        ({"style_loss": "grim"}, r"unknown style loss 'grim'; accepted: gram"),
    ],
)
def test_bad_input_in_one_line(source, network, given, message):
    with pytest.raises(Error, match=message) as caught:
        run(source, network, **given)
    assert "\n" not in str(caught.value)


def test_the_command(tmp_path, monkeypatch, capsys):
    pictures.write(tmp_path / "a.png", nets.blocks(40, 40, 2))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    fast = ["--network", "net.onnx", "--iterations", "2", "--quiet"]
    assert main(["texture", "a.png", "-o", "out.png", "--size", "64x48", "--tileable", "--histogram", *fast]) == 0
    assert pictures.read("out.png").rgb.shape == (48, 64, 3)
    for more, part in (
        (["--size", "60x48", "--tileable"], "instead of 60: 48 or 64"),
        (["--style-layers", "conv1_l"], "unknown layer 'conv1_l'; accepted: conv1_"),
        (["--scales", "9"], "scales"),
    ):
        assert main(["texture", "a.png", "-o", "no.png", *fast, *more]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert part in line
    assert not (tmp_path / "no.png").exists()


def test_what_a_refused_size_advises_is_accepted(network):
    options = {"network": network, "size": "32x32", "iterations": 1}
    with pytest.raises(
        Error, match=r"^scales: a source of 96x72 pixels is too small for 5 scales; accepted: at most 3, or"
    ):
        stylogram.texture(nets.blocks(72, 96, 1), scales=5, **options)
    stylogram.texture(nets.blocks(72, 96, 1), scales=3, **options)
    with pytest.raises(Error, match=r"^source-size: a picture of 600x16 .*a size of at least 582$"):
        stylogram.texture(nets.blocks(16, 600, 1), **options)
    stylogram.texture(nets.blocks(16, 600, 1), source_size=582, **options)
