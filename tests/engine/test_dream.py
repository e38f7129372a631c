"""DeepDream: its arithmetic against a version in NumPy alone, the guide, channels, frames and films."""

import cv2
import numpy as np
import pytest
import stylogram
from engine.classes import classifier
from stylogram import pictures
from stylogram.cli import main
from stylogram.errors import Error
from stylogram_export.network import save

from engine import nets

SIZE = (30, 40)


@pytest.fixture(scope="module")
def network():
    return nets.narrow(counts=(2, 2, 2, 2, 2))


@pytest.fixture(scope="module")
def photograph():
    return nets.blocks(*SIZE, 1)


def run(photograph, network, **options):
    return stylogram.dream(photograph, network=network, **{"size": 40, "octaves": 1, "layer": "conv2_1"} | options)


def bilinear(picture, size):
    """Half-pixel centres, edges repeated: (H,W,3) in NumPy alone."""
    for axis, side in enumerate(size):
        old = picture.shape[axis]
        at = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, old - 1)
        low = np.minimum(np.floor(at).astype(int), old - 2)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        picture = np.take(picture, low, axis) * (1 - share) + np.take(picture, low + 1, axis) * share
    return picture


def test_the_detail_alone_is_carried_up(photograph):
    """Three octaves of the loop of DeepDream's notebook, on a network whose gradient can be written down.

    A 1×1 convolution to one channel, w·x, and its ReLU: the gradient of ½ Σ y² is y w where y > 0.
    """
    tensors = nets.weights(counts=(1, 1, 1), widths=(4, 4, 4))
    first = np.zeros((4, 3, 3, 3), "f4")
    first[0, :, 1, 1] = w = np.array([0.5, -1, 0.8], "f4")
    tensors |= {"conv1_1.weight": first, "conv1_1.bias": np.zeros(4, "f4")}
    net = nets.narrow(tensors, counts=(1, 1, 1), preprocess="unit")
    jitter, steps, rng = 5, 4, np.random.default_rng(7)
    sizes = [pictures.fitted(*SIZE, round(40 / 1.3**k)) for k in (2, 1, 0)]
    detail = np.zeros((*sizes[0], 3))
    for size in sizes:
        base = pictures.resized(photograph, size).astype(float)
        x = base + bilinear(detail, size)
        for _ in range(steps):
            shift = rng.integers(-jitter, jitter + 1, 2)  # the driver looks once before the first step: see below
            g = np.maximum(np.roll(x, shift, (0, 1)) @ w, 0)[..., None] * w
            g = np.roll(g, -shift, (0, 1))
            x = np.clip(x + 2 / 255 * g / np.abs(g).mean(), 0, 1)
        rng.integers(-jitter, jitter + 1, 2)  # and once after the last
        detail = x - base
    options = {"octaves": 3, "octave_scale": 1.3, "iterations": steps, "jitter": jitter, "step": 2, "seed": 7}
    made = run(photograph, net, layer="conv1_1", **options)
    assert np.abs(detail).mean() > 0.01
    np.testing.assert_allclose(made.exact, x, atol=2e-5)


def test_the_layer_is_strengthened_and_the_same_seed_gives_the_same(photograph, network):
    first, again, other = (run(photograph, network, seed=seed) for seed in (1, 1, 2))
    assert first.trace[-1]["loss"] < 1.3 * first.trace[0]["loss"] < 0
    assert np.array_equal(first.exact, again.exact)
    assert not np.array_equal(first.exact, other.exact)
    assert first.exact.shape == (*SIZE, 3)
    assert first.exact.min() >= 0
    assert first.exact.max() <= 1


def test_every_channel_and_every_guide_dreams_something_else(photograph, network):
    guides = [nets.blocks(40, 40, seed, cell=2) for seed in (5, 6)]
    made = [run(photograph, network, channel="0-1"), run(photograph, network, channel=3), run(photograph, network)]
    made += [run(photograph, network, guide=guide) for guide in guides]
    for index, one in enumerate(made):
        assert np.abs(one.exact - photograph).mean() > 0.005
        assert all(not np.array_equal(one.exact, other.exact) for other in made[:index])


def test_without_a_layer_it_is_the_deepest_at_the_content_layer_s_stride(photograph, network):
    made = stylogram.dream(photograph, network=network, size=40, octaves=1, iterations=1)
    assert list(made.trace[0]["terms"]) == ["strength conv4_2"]


def test_frames_and_films(photograph, network, tmp_path):
    pictures.write(tmp_path / "in.png", photograph)
    save(network, tmp_path / "net.onnx")
    out = tmp_path / "out.jpg"
    common = ["--network", str(tmp_path / "net.onnx"), "--size", "40", "--octaves", "2", "--iterations", "2", "--quiet"]
    for film in ("film.mp4", "film.gif"):
        more = ["--zoom-frames", "3", "--film", str(tmp_path / film), "--layer", "conv2_1"]
        assert main(["dream", str(tmp_path / "in.png"), "-o", str(out), *common, *more]) == 0
    frames = [pictures.read(tmp_path / f"out-frame{k:04d}.png").rgb for k in (1, 2, 3)]
    assert all(frame.shape == (*SIZE, 3) for frame in frames)
    inner = pictures.resized(frames[0][1:-1, 1:-1], SIZE)
    assert np.abs(frames[1] - inner).mean() < np.abs(frames[1] - frames[0]).mean()
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 3
    assert len(cv2.imreadanimation(str(tmp_path / "film.gif"))[1].frames) == 3
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.png", "net.onnx", "out.jpg", "film.mp4", "film.gif", *(f"out-frame{k:04d}.png" for k in (1, 2, 3))
    }  # fmt: skip


def test_in_python_frames_stay_in_memory(photograph, network):
    made = run(photograph, network, zoom_frames=2, iterations=1)
    assert [frame.shape for frame in made.frames] == [(*SIZE, 3)] * 2
    assert made.frames[1].dtype == np.uint8
    np.testing.assert_array_equal(made.picture, made.frames[1])


BAD = {
    "layer": ({"layer": "cnov2_1"}, "accepted: conv2_1"),
    "channel": ({"channel": 99}, "channels from 0 to 7, got 99"),
    "channel range": ({"channel": "5-2"}, "channel: a range goes up"),
    "channels and guide": ({"channel": 1, "guide": np.zeros((20, 20, 3), np.uint8)}, "without a guide"),
    "film without frames": ({"film": "a.mp4"}, "--zoom-frames N is needed"),
    "film's suffix": ({"film": "a.avi", "zoom_frames": 2}, ".mp4, .gif"),
    "octaves": ({"octaves": 9, "size": 40}, "sides of at least 16"),
    "guide": ({"guide": "none.png"}, "there is no file none.png"),
    "zero weights": ({"layer": "conv2_1=0"}, "at least one weight must be above 0"),
    "optimizer": ({"optimizer": "adam"}, "unknown option 'optimizer'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(photograph, network, name):
    options, said = BAD[name]
    with pytest.raises(Error) as caught:
        run(photograph, network, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_without_rows_and_columns_is_said_so(photograph):
    with pytest.raises(Error, match="logits has no rows and columns"):
        run(photograph, classifier(), layer="logits")


def test_a_plot_of_losses_below_0(network, photograph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures.write("photo.png", photograph)
    save(network, tmp_path / "net.onnx")
    command = ["dream", "photo.png", "--network", "net.onnx", "--size", "40", "--octaves", "1", "--iterations", "2"]
    assert main([*command, "-o", "out.png", "--plot", "p.png", "--quiet"]) == 0  # warnings are errors in tests
    assert pictures.read("p.png").rgb.std() > 0
