"""stylogram network export for libstylogram: what the two files say of the losses, and what tells pairs apart."""

from dataclasses import replace

import onnx
import pytest
from engine.command import refused
from stylogram.cli import main
from stylogram_export.network import save

from engine import nets


@pytest.fixture
def here(tmp_path, monkeypatch):
    save(replace(nets.narrow(), loss_weights={"style": 7.5}, precondition=1.7), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(folder="pair", *options):
    return main(["network", "export", "net.onnx", "-o", folder, *options])


def metadata(name, folder="pair"):
    model = onnx.load(f"{folder}/{name}.onnx")
    return {entry.key.removeprefix("stylogram."): entry.value for entry in model.metadata_props}


def sizes(folder="pair"):
    model = onnx.load(f"{folder}/forward.onnx")
    return [side.dim_value or "?" for side in model.graph.input[0].type.tensor_type.shape.dim]


def test_the_losses_are_those_of_the_default_preset(here):
    assert export() == 0
    own = metadata("forward")
    assert metadata("backward").items() <= own.items()  # forward has what the network's file says as well
    assert own["engine"] == "1"
    assert own["relu"] == "gradient"
    assert own["content"] == "1.0\tconv4_2\tconv4_2\n"
    assert [line.split("\t") for line in own["style"].splitlines()] == [
        ["0.2", f"conv{k}_1", f"conv{k}_1"] for k in range(1, 6)
    ]
    assert own["weights"] == "1.0\tcontent\n7.5\tstyle\n5.0\ttv\n"
    assert own["precondition"] == "1.7"
    assert sizes() == ["?", 3, "?", "?"]


def test_other_layers(here):
    assert export("pair", "--content-layers", "conv2_1", "--style-layers", "conv1_1=3,conv3_1=1") == 0
    own = metadata("forward")
    assert own["content"] == "1.0\tconv2_1\tconv2_1\n"
    assert own["style"] == "0.75\tconv1_1\tconv1_1\n0.25\tconv3_1\tconv3_1\n"
    outputs = [value.name for value in onnx.load("pair/forward.onnx").graph.output]
    assert outputs[:3] == ["conv2_1", "conv1_1", "conv3_1"]


def test_layers_alone_say_nothing_of_losses(here):
    assert export("pair", "--layers", "conv1_1,conv2_1") == 0
    assert not {"engine", "content", "style", "weights"} & set(metadata("forward"))


def test_a_pair_is_known_by_both_files_and_by_nothing_else(here):
    assert export("pair") == export("again") == 0
    assert export("other", "--content-layers", "conv3_1") == export("closed", "--shape", "1,3,32,32") == 0
    pairs = {folder: metadata("forward", folder)["pair"] for folder in ("pair", "again", "other", "closed")}
    assert all(metadata("backward", folder)["pair"] == pair for folder, pair in pairs.items())
    assert pairs["pair"] == pairs["again"]
    assert len({pairs["pair"], pairs["other"], pairs["closed"]}) == 3


def test_winograds_convolutions_are_for_one_size(here, capsys):
    assert export("pair", "--convolution", "winograd", "--shape", "1,3,32,32") == 0
    domains = {node.domain for name in ("forward", "backward") for node in onnx.load(f"pair/{name}.onnx").graph.node}
    assert "stylogram" in domains
    assert export("other", "--convolution", "winograd") == 2
    assert refused(capsys, "a shape without ? is accepted, got ?,3,?,?")
    assert not (here / "other").exists()


def test_bad_options(here, capsys):
    assert export("pair", "--convolution", "fft") == 2
    assert refused(capsys, "convolution", "'fft'", "direct, winograd")
    assert export("pair", "--layers", "conv1_1", "--style-layers", "conv1_1") == 2
    assert refused(capsys, "--layers", "without --content-layers and --style-layers")
    assert export("pair", "--style-layers", "conv9_1") == 2
    assert refused(capsys, "unknown layer 'conv9_1'")
    assert not (here / "pair").exists()
