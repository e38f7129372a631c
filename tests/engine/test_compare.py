"""Compare: what is counted against NumPy, a network trained here at several points of its training, and bad input."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from stylogram import Error, pictures
from stylogram.cli import main
from stylogram.filters import FirstLayer
from stylogram.folder import Folder
from stylogram.responses import FINE, LOW, Correlation, Histogram, positions, settled
from stylogram.session import features_of
from stylogram.tasks.compare import compare
from stylogram_export.graph import cut
from stylogram_export.network import folded, load, save

from engine import nets

COUNTS, WIDTHS = (1, 1), (6, 8)
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def stripes(number, size=24):
    """A picture of stripes, upright for even numbers, lying for odd ones; its colours and phase are the number's."""
    rng = np.random.default_rng(number)
    wave = np.sin(np.arange(size) * rng.uniform(0.7, 1.4) + rng.uniform(0, 6))
    grey = np.tile(wave, (size, 1)) if number % 2 == 0 else np.tile(wave[:, None], (1, size))
    noise = rng.normal(0, 0.15, (size, size, 3))
    return np.clip(0.5 + 0.4 * grey[:, :, None] * rng.uniform(0.5, 1, 3) + noise, 0, 1).astype("f4")


def trained(steps):
    """Weights of the narrow VGG's two convolutions after so many steps of telling the stripes apart."""
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in nets.weights(COUNTS, WIDTHS).items()}
    last = torch.zeros(2, 8, requires_grad=True)
    adam = torch.optim.Adam([*tensors.values(), last], lr=0.01)
    x = torch.tensor(np.stack([stripes(100 + number).transpose(2, 0, 1) for number in range(64)]))
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    labels = torch.arange(64) % 2
    made = {}
    for step in range(max(steps) + 1):
        if step in steps:
            made[step] = {name: value.detach().numpy().copy() for name, value in tensors.items()}
        f = torch.nn.functional
        y = f.relu(f.conv2d(x, tensors["conv1_1.weight"], tensors["conv1_1.bias"], padding=1))
        y = f.relu(f.conv2d(f.max_pool2d(y, 2), tensors["conv2_1.weight"], tensors["conv2_1.bias"], padding=1))
        loss = f.cross_entropy(y.mean((2, 3)) @ last.T, labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return made, float(loss.detach())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Files of the network after 0, 20, 90 and 100 steps, and a folder of pictures."""
    where = tmp_path_factory.mktemp("compare")
    made, loss = trained([0, 20, 90, 100])
    assert loss < 0.2  # it has learned
    for step, tensors in made.items():
        save(nets.narrow(tensors, COUNTS), where / f"step{step}.onnx")
    (where / "pics").mkdir()
    for number in range(20):
        pictures.write(where / "pics" / f"{number:02d}.png", stripes(number))
    return where


@pytest.fixture
def here(checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoints)
    return tmp_path / "out"


NETWORKS = [f"step{step}.onnx" for step in (0, 20, 90, 100)]


def test_evolution(here):
    """Correlations against NumPy's, layer by layer, on activations of each checkpoint alone."""
    compare(NETWORKS, output=here, pictures="pics", size=24, batch=3)
    found = json.loads((here / "comparison.json").read_text())["evolution"]
    assert found["checkpoints"] == ["step0", "step20", "step90", "step100"]
    folder = Folder.scan("pics")
    batch = np.stack([folder.squares(number, [24])[24] for number in range(20)])
    for layer in found["layers"]:
        sampled = []
        for path in NETWORKS:
            net = load(path)
            tensor = net.layers.tensor(layer["name"])
            values = features_of(folded(net, [tensor]), [tensor], batch)[tensor]
            flat = values.reshape(*values.shape[:2], -1)
            sampled.append(flat[:, :, positions(flat.shape[2])].transpose(1, 0, 2).reshape(flat.shape[1], -1))
        for index in range(3):
            each = [
                np.corrcoef(mine, last)[0, 1]
                for mine, last in zip(sampled[index], sampled[3], strict=True)
                if mine.std() and last.std()
            ]
            assert layer["with_last"][index] == pytest.approx(np.mean(each), abs=1e-5)
        assert layer["with_last"][0] < layer["with_last"][1] < layer["with_last"][2]
        assert layer["with_last"][2] > 0.95
        assert layer["settled"] == settled(layer["with_last"])
    strip = pictures.read(here / "evolution" / "conv2_1" / "0003.jpg").rgb
    assert strip.shape[:2] == tuple(found["layers"][1]["size"][::-1])
    assert (here / "sheets" / "conv1_1.png").is_file()


SCRIPT = """
import os, signal, sys
from stylogram.tasks import compare as task
task.EVERY = 0
phase, at = sys.argv[1], int(sys.argv[2])
def look(step):
    print(step.phase, step.done, flush=True)
    if step.phase == phase and step.done >= at:
        os.kill(os.getpid(), signal.SIGKILL)
networks = [f"step{step}.onnx" for step in (0, 20, 90, 100)]
task.compare(networks, output=sys.argv[3], callback=look, pictures="more", size=24, batch=4)
"""


def run(phase, at, output):
    """The code, the steps as (phase, done), and what was said."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, phase, str(at), output], capture_output=True, text=True)
    return done.returncode, [tuple(line.rsplit(" ", 1)) for line in done.stdout.splitlines()], done.stderr


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_run_that_is_killed_twice_ends_as_one_that_is_not(here, checkpoints):
    """A broken picture among them, before the first kill: what was skipped is kept too."""
    (checkpoints / "more").mkdir()
    for number in range(20):
        os.link(checkpoints / "pics" / f"{number:02d}.png", checkpoints / "more" / f"{number:02d}.png")
    (checkpoints / "more" / "01.jpg").write_bytes(b"no picture")
    cut, whole = here.parent / "cut", here.parent / "whole"
    code, steps, said = run("never", 0, str(whole))
    assert code == 0, said
    assert len(json.loads((whole / "comparison.json").read_text())["skipped"]) == 1
    assert run("pictures", 12, str(cut))[0] == -signal.SIGKILL
    (cut / ".comparison.json.0123456789ab").write_text("half")  # as a kill inside of a write leaves it
    code, second, said = run("projections", 30, str(cut))
    assert code == -signal.SIGKILL, said
    assert second[0] == ("pictures", "16")  # not from the beginning: 12 were saved
    code, third, said = run("never", 0, str(cut))
    assert code == 0, said
    assert {phase for phase, _ in third} == {"projections"}
    assert 0 < len(third) < sum(phase == "projections" for phase, _ in steps)
    assert contents(cut) == contents(whole)


def test_the_same_network_twice_is_settled_at_once(here):
    compare([NETWORKS[1], NETWORKS[1]], output=here, pictures="pics", size=24)
    found = json.loads((here / "comparison.json").read_text())
    assert [one["label"] for one in found["networks"]] == ["step20", "step20 (2)"]
    for layer in found["evolution"]["layers"]:
        assert layer["with_last"] == [pytest.approx(1, abs=1e-9)]
        assert layer["settled"] == 0


def whitened(tensors, directions):
    """The narrow VGG of these weights with a layer `conv1_1:white` and so on, as seednet has: 1x1 convolutions of what
    goes into the ReLUs, with so many `directions`."""
    network = nets.narrow(tensors, COUNTS)
    model, names = onnx.ModelProto(), dict(network.layers.names)
    model.CopyFrom(network.model)
    for name, count in directions.items():
        matrix = np.random.default_rng(count).normal(size=(count, len(tensors[f"{name}.bias"]), 1, 1)).astype("f4")
        model.graph.initializer.append(numpy_helper.from_array(matrix, f"{name}:matrix"))
        inner = [network.layers.tensor(f"{name}:linear"), f"{name}:matrix"]
        model.graph.node.append(helper.make_node("Conv", inner, [f"{name}:white"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}:white", TensorProto.FLOAT, None))
        names[f"{name}:white"] = f"{name}:white"
    return replace(network, model=model, layers=replace(network.layers, names=names).of(model))


def test_layers_whose_directions_differ_have_no_evolution_and_the_others_do(here):
    """seednet's checkpoints: a training leaves a whitened layer as many directions as it will."""
    made, _ = trained([0, 20])
    counts = ({"conv1_1": 4, "conv2_1": 5}, {"conv1_1": 4, "conv2_1": 7})
    several = [whitened(tensors, count) for tensors, count in zip(made.values(), counts, strict=True)]
    for number, network in enumerate(several):
        save(network, here.parent / f"white{number}.onnx")
    compare([here.parent / f"white{number}.onnx" for number in (0, 1)], output=here, pictures="pics", size=24, unit=3)
    found = json.loads((here / "comparison.json").read_text())
    followed = {layer["name"]: layer for layer in found["evolution"]["layers"]}
    assert list(followed) == ["conv1_1", "conv2_1", "conv1_1:white"]
    assert "no evolution of conv2_1:white: the networks' weights differ in shape there" in found["notes"]
    units = [{layer["name"]: layer["units"] for layer in one["layers"]} for one in found["networks"]]
    assert [one["conv2_1:white"] for one in units] == [5, 7]
    folder = Folder.scan("pics")
    batch = np.stack([folder.squares(number, [24])[24] for number in range(20)])
    white = [features_of(folded(net, ["conv1_1:white"]), ["conv1_1:white"], batch)["conv1_1:white"] for net in several]
    taken = positions(white[0][0, 0].size)
    first, last = (one.reshape(20, 4, -1)[:, :, taken].transpose(1, 0, 2).reshape(4, -1) for one in white)
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, last, strict=True)]
    assert followed["conv1_1:white"]["with_last"] == [pytest.approx(np.mean(each), abs=1e-5)]
    strip = pictures.read(here / followed["conv1_1:white"]["folder"] / "0003.jpg").rgb
    assert strip.shape[:2] == tuple(followed["conv1_1:white"]["size"][::-1])
    assert (here / "sheets" / "conv1_1_white.png").is_file()
    with pytest.raises(Error, match="unit: it is for checkpoints of one architecture"):
        compare(several, output=here.parent / "other", pictures="pics", size=24, layer="conv2_1:white", unit=3)
    with pytest.raises(Error, match=r"unit: it is for several checkpoints .*, got one network$"):
        compare(several[:1], output=here.parent / "other", pictures="pics", size=24, unit=3)


def test_dead_and_nearly_dead_filters(checkpoints, tmp_path):
    """120 pictures, of which one is bright: a unit that needs that much fires on one, under 1%; one never fires."""
    (tmp_path / "pics").mkdir()
    for number in range(120):
        pictures.write(tmp_path / "pics" / f"{number:03d}.png", np.full((16, 16, 3), 0.9 if number == 7 else 0.2))
    tensors = nets.weights(COUNTS, WIDTHS)
    tensors["conv1_1.weight"][:2] = 1 / 27
    tensors["conv1_1.bias"][:2] = -1, -1e3  # imagenet's preprocessing: 0.9 becomes about 2, 0.2 about -1.1
    other = {**nets.weights(COUNTS, WIDTHS, seed=4)}
    net = [nets.narrow(weights, COUNTS) for weights in (tensors, other)]
    compare(net, output=tmp_path / "out", pictures=tmp_path / "pics", size=16, layer="conv1_1", unit="0-1")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    (layer,) = found["networks"][0]["layers"]
    assert (layer["dead"], layer["nearly_dead"]) == ([1], [0])
    assert layer["fired"][:2] == [1, 0]
    assert not found["networks"][1]["layers"][0]["dead"]
    assert found["evolution"]["layers"][0]["units"] == [0, 1]


def test_networks_that_differ_have_no_evolution(here, capsys):
    other = nets.narrow(nets.weights((1, 1, 1), (5, 7, 9)), (1, 1, 1))
    save(other, here.parent / "other.onnx")
    command = ["compare", "step100.onnx", str(here.parent / "other.onnx"), "--pictures", "pics", "-o", str(here)]
    assert main([*command, "--size", "24"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{here}/index.html: 2 networks over 20 pictures"
    found = json.loads((here / "comparison.json").read_text())
    assert found["evolution"] is None
    assert [[layer["name"] for layer in one["layers"]] for one in found["networks"]] == [
        ["conv1_1", "conv2_1"],
        ["conv1_1", "conv2_1", "conv3_1"],
    ]
    assert any("no filter can be nearly dead" in note for note in found["notes"])
    assert pictures.read(here / "filters" / "other.png").rgb.std() > 0.1


def test_correlation_of_streams():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(12, 5, 9)).astype("f4") * 1e3 + 1e4
    other = (first + rng.normal(size=first.shape) * 500).astype("f4")
    first[:, 4] = 7
    found = Correlation(2, 5, [(0, 1), (0, 1)])
    for start in range(0, 12, 5):
        found.add([first[start : start + 5], other[start : start + 5]])
    for unit in range(4):
        expected = np.corrcoef(first[:, unit].ravel(), other[:, unit].ravel())[0, 1]
        assert found.between(0, 1)[unit] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found.between(0, 1)[4])
    assert found.mean(0, 1) == pytest.approx(np.nanmean(found.between(0, 1)))


@pytest.mark.parametrize(
    ("with_last", "expected"),
    [([0.2, 0.95, 0.99], 1), ([0.95, 0.5, 0.99], 2), ([0.95, 0.99], 0), ([0.1, 0.2], 2), ([None, 0.95], 1), ([], 0)],
)
def test_settled(with_last, expected):
    assert settled(with_last) == expected


def test_a_histogram_counts_everything_once():
    values = np.concatenate([np.zeros(7), -np.ones(3), 2.0 ** np.array([-30, -1, 0, 0.5, 0.51, 30])]).astype("f4")
    found = Histogram.empty()
    found.add(values)
    found.add(values)
    expected = np.zeros_like(found.bins)
    for octave in (LOW, -1, 0, 0.5, 0.5, None):
        expected[-1 if octave is None else int((octave - LOW) * FINE)] += 2
    assert found.bins.tolist() == expected.tolist()
    assert (found.zeros, found.negatives) == (14, 6)
    shares, zeros, negatives = found.shares
    assert sum(shares) + zeros + negatives == pytest.approx(1)


def test_filters_are_shown_in_rgb():
    """A network of BGR pictures: its last input channel is red."""
    tensors = nets.weights(COUNTS, WIDTHS)
    tensors["conv1_1.weight"][:] = 0
    tensors["conv1_1.weight"][0, 2] = 2
    first = FirstLayer.of(nets.narrow(tensors, COUNTS, preprocess="caffe"))
    assert first.label == "6 of 3x3, stride 1"
    assert first.picture()[10, 10].tolist() == [1, 0.5, 0.5]


def test_alexnet_and_zfnet_side_by_side(here):
    """The published case: 11x11 with stride 4 against 7x7 with stride 2. These files' weights are constant."""
    files = []
    for name in ("light_bvlc_alexnet.onnx", "light_zfnet512.onnx"):
        model = onnx.load(LIGHT / name)
        pools = [node.output[0] for node in model.graph.node if node.op_type == "MaxPool"]
        files.append(here.parent / name)  # without the classifier's 58 million numbers
        onnx.save(cut(model, [pools[1]]), files[-1])
    compare(files, output=here, pictures="pics", layer="conv1_1", batch=4)
    found = json.loads((here / "comparison.json").read_text())
    assert [one["filters"]["label"] for one in found["networks"]] == [
        "96 of 11x11, stride 4",
        "96 of 7x7, stride 2",
    ]
    assert [one["size"] for one in found["networks"]] == [224, 224]
    assert found["evolution"] is None
    for name in ("light_bvlc_alexnet", "light_zfnet512"):
        assert any(note.startswith(f"{name}: all weights of its first layer are equal") for note in found["notes"])


BAD = {
    "no folder": ({"pictures": "nowhere"}, "nowhere is not there"),
    "no pictures option": ({"pictures": None}, "pictures"),
    "network": ({"networks": ["step0.onnx", "step9.onnx"]}, "no such network file: step9.onnx"),
    "none": ({"networks": []}, "at least one is needed"),
    "layer": ({"layer": "conv8_1"}, "unknown layer 'conv8_1'; accepted: conv"),
    "unit": ({"unit": "6"}, "layer conv1_1 has units from 0 to 5, got 6"),
    "preprocess": ({"preprocess": "unit,caffe,unit"}, "one name, or one for each of 2 networks"),
    "preprocess name": ({"preprocess": "unit,cafe"}, "unknown preprocess 'cafe'; accepted: caffe"),
    "network option": ({"network": "step0.onnx"}, "unknown option 'network'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(here, name):
    given, part = BAD[name]
    chosen = {"networks": NETWORKS[:2], "pictures": "pics", "size": 24, **given}
    with pytest.raises(Error) as caught:
        compare(chosen.pop("networks"), output=here, **chosen)
    assert part in str(caught.value)
    assert not here.exists()


def test_units_of_networks_that_differ(here):
    other = nets.narrow(nets.weights((1, 1, 1), (5, 7, 9)), (1, 1, 1))
    with pytest.raises(Error, match="unit: it is for checkpoints of one architecture"):
        compare(["step0.onnx", other], output=here, pictures="pics", size=24, unit=3)
