"""Every task that shows what a network sees, on graphs that others made: the onnx package's, with random weights."""

import json

import numpy as np
import pytest
import stylogram
from architectures import LIGHT, light, with_weights
from stylogram import pictures
from stylogram.looking import Looking
from stylogram.options import NetworkOptions
from stylogram.tasks.reconstruct import LayerGrid, Options
from stylogram_export.layers import discover
from stylogram_export.network import Network
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from engine import nets

NAMES = ["bvlc_alexnet", "squeezenet", "zfnet512"]
IMAGE = nets.blocks(64, 64, 1, cell=8)
ONE_SIZE = 224  # of the pictures that these graphs take as far as their classes


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    model = prepare(with_weights(light(request.param)))
    return Network(request.param, model, PREPROCESS["caffe"], discover(model))


def falls(result):
    """The loss falls, and the picture is more than one colour."""
    assert result.loss < result.trace[0]["loss"]
    assert result.exact.std(axis=(0, 1)).min() > 0.01
    return result


def test_texture(network):
    assert falls(stylogram.texture(IMAGE, network=network, size="80x64", iterations=4)).exact.shape == (64, 80, 3)


def test_reconstruct(network):
    falls(stylogram.reconstruct(IMAGE, network=network, iterations=4))


def test_the_grid(network):
    """Without layers named it has one of each stage in both rows; each that is made gets nearer to what it is of."""
    cells = LayerGrid(IMAGE, Options(network=network, grid=True)).cells
    stages = {name.partition("_")[0] for name in network.layers.names}
    assert len(cells) == 2 * len(stages)
    chosen = {"content_layers": cells[len(stages) - 1].layers[0], "style_layers": cells[len(stages)].layers[0]}
    made = stylogram.reconstruct(IMAGE, network=network, grid=True, iterations=12, **chosen)
    assert len(made.pictures) == 2
    for scale in (1, 2):
        losses = [row["loss"] for row in made.trace if row["scale"] == scale]
        assert min(losses) < losses[0]


def test_dream(network):
    """Rows and columns are there at the default layer, and it is stronger than it was."""
    made = stylogram.dream(IMAGE, network=network, octaves=1, iterations=3, jitter=0)
    assert made.trace[-1]["loss"] < made.trace[0]["loss"]
    assert 0.01 < np.abs(made.exact - IMAGE).mean() < 0.3


def test_maximize_units(network):
    units = stylogram.maximize(network=network, layer="conv3_1", unit="0,3", size=64, iterations=12)
    assert units.trace[-1]["loss"] < units.trace[0]["loss"]
    assert len(units.pictures) == 2
    assert min(picture.std() for picture in units.pictures) > 0.01


# The classifiers of VGG-19 and ZFNet are AlexNet's, and take longer.
@pytest.mark.parametrize("network", ["bvlc_alexnet", "squeezenet"], indirect=True)
def test_classes(network):
    one = stylogram.maximize(network=network, class_=3, iterations=2)
    assert one.exact.shape == (ONE_SIZE, ONE_SIZE, 3)
    assert any(note.startswith("class 3: score") for note in one.notes)
    found = stylogram.saliency(IMAGE, network=network, rule="guided")
    assert found.exact.shape == (ONE_SIZE, ONE_SIZE, 3)
    assert found.exact.std() > 0.02
    hidden = stylogram.occlusion(IMAGE, network=network, score="logit", stride=ONE_SIZE)
    assert hidden.scores.shape == (1, 1)
    assert hidden.label == found.label
    assert hidden.whole == pytest.approx(found.score, rel=1e-4)
    assert hidden.scores[0, 0] != hidden.whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        pictures.write(where / f"{number}.png", nets.blocks(64, 64, number, cell=3 + number))
    return where


def test_deconvnet(network, folder, tmp_path):
    layers = [name for name in network.layers.names if name in ("conv1_1", "conv3_1")]
    stylogram.deconvnet(folder, output=tmp_path / "out", network=network, layer=layers, unit="0-3", size=64)
    found = json.loads((tmp_path / "out" / "maxima.json").read_text())
    for layer in found["layers"]:
        fired = [unit for unit in layer["units"] if unit["top"]]
        assert fired
        for unit in fired:
            shown = pictures.read(tmp_path / "out" / layer["folder"] / f"{unit['unit']:04d}-projections.jpg").rgb
            assert np.abs(shown - 0.5).max() > 0.3


def test_compare(network, folder, tmp_path):
    stylogram.compare([network, nets.narrow()], output=tmp_path / "out", pictures=folder, size=64, batch=4)
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["evolution"] is None
    own, other = ([layer["name"] for layer in one["layers"]] for one in found["networks"])
    assert own == list(network.layers.names)
    assert len(other) == 16
    assert pictures.read(tmp_path / "out" / found["networks"][0]["filters"]["picture"]).rgb.std() > 0.05


def test_a_file_without_trained_weights_is_said_to_be_one():
    """The onnx package's files as they are: what is made of them is grey."""
    said = "light_squeezenet: all weights of its first layer are equal: the file is not trained"
    assert said in Looking(NetworkOptions(network=LIGHT / "light_squeezenet.onnx")).notes
    assert not any("not trained" in note for note in Looking(NetworkOptions(network="seednet")).notes)
