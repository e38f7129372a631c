"""Deconvnet: maxima against a brute-force pass, what is written, runs that are stopped, bad input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from stylogram import Error, pictures
from stylogram.cli import main
from stylogram.folder import Folder
from stylogram.maxima import Top, peaks
from stylogram.session import features_of
from stylogram.tasks.deconvnet import deconvnet
from stylogram.tiles import Box, cropped
from stylogram_export.network import folded, save

from engine import nets

COUNTS, WIDTHS = (1, 1, 1), (6, 8, 10)


def test_the_top_against_sorting_everything():
    """With ties, of which the earlier picture comes first, in batches of any length."""
    rng = np.random.default_rng(1)
    values = rng.integers(-2, 6, (57, 11)).astype("f4")
    places = rng.integers(0, 99, (57, 11))
    top, at = Top.empty(11, 9), 0
    for length in (1, 8, 3, 20, 25):
        top.add(values[at : at + length], places[at : at + length], list(range(at, at + length)))
        at += length
    assert at == 57
    for unit in range(11):
        order = sorted(range(57), key=lambda number, u=unit: (-values[number, u], number))[:9]
        assert top.numbers[unit].tolist() == order
        assert top.values[unit].tolist() == values[order, unit].tolist()
        assert top.places[unit].tolist() == places[order, unit].tolist()
        assert top.fired[unit] == (values[:, unit] > 0).sum()


def test_a_peak_is_the_first_of_equal_ones():
    features = np.zeros((1, 2, 6), "f4")
    features[0, 0, [2, 4]] = 3
    values, places = peaks(features)
    assert values.tolist() == [[3, 0]]
    assert places.tolist() == [[2, 0]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder `pics` of 26 pictures and a narrow network whose unit 4 of conv2_1 is dead."""
    (tmp_path / "pics").mkdir()
    for number in range(26):
        cell = 2 + number % 5
        pictures.write(tmp_path / "pics" / f"p{number:02d}.png", nets.blocks(36, 40, number, cell))
    tensors = nets.weights(COUNTS, WIDTHS)
    tensors["conv2_1.bias"][4] = -1e3
    save(nets.narrow(tensors, COUNTS), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = {"network": "net.onnx", "size": 32, "batch": 4}


@pytest.mark.parametrize("batch", [4, 3])
def test_maxima_against_a_brute_force_pass(here, batch):
    """Every picture alone through the forward graph: the same nine, the same places, the same values."""
    report = deconvnet("pics", output="out", layer="conv2_1", **{**SMALL, "batch": batch})
    found = json.loads((here / "out" / "maxima.json").read_text())
    assert report.page == Path("out/index.html")
    folder = Folder.scan("pics")
    net = nets.narrow(nets.weights(COUNTS, WIDTHS), COUNTS)
    tensor = net.layers.tensor("conv2_1")
    features = np.concatenate(
        [
            features_of(folded(net, [tensor]), [tensor], folder.squares(number, [32])[32][None])[tensor]
            for number in range(26)
        ]
    )
    columns = features.shape[3]
    (layer,) = found["layers"]
    for unit in layer["units"]:
        if unit["unit"] == 4:
            assert unit["top"] == []
            assert unit["fired"] == 0
            continue
        flat = features[:, unit["unit"]].reshape(26, -1)
        order = np.argsort(-flat.max(axis=1), kind="stable")[:9]
        assert [entry["picture"] for entry in unit["top"]] == [folder.names[number] for number in order]
        np.testing.assert_allclose([entry["activation"] for entry in unit["top"]], flat.max(axis=1)[order], rtol=1e-5)
        assert [entry["at"] for entry in unit["top"]] == [list(divmod(flat[n].argmax(), columns)) for n in order]
        assert unit["fired"] == (flat.max(axis=1) > 0).sum()


def test_what_is_written(here):
    deconvnet("pics", output="out", layer="conv1_1,conv2_1", unit="0,4-5", top=4, **SMALL)
    written = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file())
    kinds = ("patches", "projections")
    units = [f"units/conv1_1/{unit:04d}-{kind}.jpg" for unit in (0, 4, 5) for kind in kinds]
    units += [f"units/conv2_1/{unit:04d}-{kind}.jpg" for unit in (0, 5) for kind in kinds]  # 4 is dead
    sheets = ["sheets/conv1_1-0000.png", "sheets/conv2_1-0000.png"]
    assert written == sorted(["index.html", "maxima.json", "state.npz", "stylogram.json", *units, *sheets])
    shown = pictures.read("out/units/conv2_1/0000-projections.jpg").rgb
    assert np.abs(shown - 0.5).max() > 0.4  # contrast
    found = json.loads(Path("out/maxima.json").read_text())
    width, height = found["layers"][1]["units"][0]["size"]
    assert shown.shape[:2] == (height, width)
    assert "1 of 3 units of conv2_1 were above 0 on none of the pictures" in found["notes"]


def test_a_patch_is_what_the_unit_saw(here):
    """A unit of conv1_1 away from the edges: its 3x3 pixels, each as a square of equal pixels."""
    deconvnet("pics", output="out", layer="conv1_1", unit="0", top=1, **SMALL)
    (entry,) = json.loads(Path("out/maxima.json").read_text())["layers"][0]["units"][0]["top"]
    top, left, height, width = entry["box"]
    assert (height, width) == (3, 3)
    folder = Folder.scan("pics")
    square = folder.squares(folder.names.index(entry["picture"]), [32])[32]
    expected = cropped(square, Box(top, left, 3, 3), edge=True)
    shown = pictures.read("out/units/conv1_1/0000-patches.jpg").rgb[2:-2, 2:-2]
    centres = shown[11::22, 11::22][:3, :3]
    np.testing.assert_allclose(centres, expected, atol=0.06)  # JPEG


SCRIPT = """
import os, signal, sys
from stylogram.tasks import deconvnet as task
task.EVERY, task.CHUNK = 0, 3
phase, at = sys.argv[1], int(sys.argv[2])
def look(step):
    print(step.phase, step.done, flush=True)
    if step.phase == phase and step.done >= at:
        os.kill(os.getpid(), signal.SIGKILL)
task.deconvnet("pics", output=sys.argv[3], callback=look, network="net.onnx", size=32, batch=4, layer="conv1_1,conv2_1")
"""


def run(phase, at, output):
    done = subprocess.run([sys.executable, "-c", SCRIPT, phase, str(at), output], capture_output=True, text=True)
    return done.returncode, [tuple(line.rsplit(" ", 1)) for line in done.stdout.splitlines()], done.stderr


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_run_that_is_killed_twice_ends_as_one_that_is_not(here):
    code, steps, said = run("never", 0, "whole")
    assert code == 0, said
    total = sum(phase == "projections" for phase, _ in steps)
    assert run("pictures", 12, "cut")[0] == -signal.SIGKILL
    (here / "cut" / ".maxima.json.0123456789ab").write_text("half")  # as a kill inside of a write leaves it
    code, second, _ = run("projections", 60, "cut")
    assert code == -signal.SIGKILL
    assert int(second[0][1]) > 8  # not from the beginning
    code, third, said = run("never", 0, "cut")
    assert code == 0, said
    assert {phase for phase, _ in third} == {"projections"}
    assert 0 < len(third) < total
    assert contents(here / "cut") == contents(here / "whole")


def test_ctrl_c_keeps_what_is_done(here, capsys, monkeypatch):
    from stylogram.report.monitor import ReportMonitor

    real = ReportMonitor._look

    def press(self, step):
        real(self, step)
        if step.done >= 12:
            raise KeyboardInterrupt

    command = ["deconvnet", "pics", "--layer", "conv2_1", "-o", "out", "--network", "net.onnx", "--size", "32"]
    command += ["--batch", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(ReportMonitor, "_look", press)
        assert main(command) == 130
    assert capsys.readouterr().err == "interrupted: pictures 12 of 26; the same command goes on with the report\n"
    with np.load("out/state.npz") as state:
        assert state["done"] == 12
    assert main(command) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "out/index.html: 8 units of conv2_1 over 26 pictures"
    deconvnet("pics", output="whole", layer="conv2_1", **SMALL)
    assert contents(here / "out") == contents(here / "whole")


def test_a_vector_layer_sees_the_whole_picture(here):
    net = nets.by_hand(
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["on"]),
        helper.make_node("Flatten", ["on"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
        constants={
            "w": np.random.default_rng(0).normal(size=(4, 3, 4, 4)),
            "dense": np.random.default_rng(1).normal(size=(4 * 64, 5)),
        },
    )
    deconvnet("pics", output="out", layer="deep", network=net, size=32, batch=4)
    units = json.loads(Path("out/maxima.json").read_text())["layers"][0]["units"]
    entries = [entry for unit in units for entry in unit["top"]]
    assert len(entries) > 20
    assert all(entry["at"] is None and entry["box"] == [0, 0, 32, 32] for entry in entries)


def test_three_broken_pictures_among_a_hundred(here, capsys):
    crowd = here / "crowd"
    crowd.mkdir()
    for number in range(100):
        pictures.write(crowd / f"{number:03d}.png", nets.blocks(16, 16, number))
    (crowd / "013.png").write_bytes(b"")
    (crowd / "050.png").write_text("no picture at all")
    whole = (crowd / "051.png").read_bytes()
    (crowd / "099.png").write_bytes(whole[: len(whole) // 2])
    command = ["deconvnet", "crowd", "--layer", "conv1_1", "--unit", "1", "-o", "out", "--network", "net.onnx"]
    assert main([*command, "--size", "32"]) == 0
    said = capsys.readouterr().err
    assert "note: 3 of 100 pictures were skipped, all listed in maxima.json: 013.png: " in said
    found = json.loads(Path("out/maxima.json").read_text())
    assert found["pictures"] == 97
    assert [row["picture"] for row in found["skipped"]] == ["013.png", "050.png", "099.png"]
    assert all(row["reason"] for row in found["skipped"])
    assert not {"013.png", "050.png", "099.png"} & {
        entry["picture"] for unit in found["layers"][0]["units"] for entry in unit["top"]
    }


def test_a_folder_of_broken_pictures_alone(here):
    (here / "bad").mkdir()
    for number in range(9):
        (here / "bad" / f"{number}.jpg").write_bytes(b"not one")
    with pytest.raises(Error, match=r"none of 9 pictures can be used; 0\.jpg: "):
        deconvnet("bad", output="out", layer="conv1_1", **SMALL)
    assert not Path("out").exists()


BAD = {
    "empty folder": ({"pictures": "empty"}, "no picture in empty; files that end in .png"),
    "no folder": ({"pictures": "nowhere"}, "nowhere is not there; a folder of pictures is accepted"),
    "a file": ({"pictures": "net.onnx"}, "net.onnx is a file; a folder"),
    "layer": ({"layer": "conv9_1"}, "unknown layer 'conv9_1'; accepted: conv"),
    "layer twice": ({"layer": "conv1_1,relu1_1"}, "different layers are accepted"),
    "no layer": ({"layer": ","}, "different names joined by commas"),
    "unit": ({"unit": "8"}, "layer conv2_1 has units from 0 to 7, got 8"),
    "rule": ({"rule": "guied"}, "unknown rule 'guied'; accepted: guided"),
    "size": ({"size": 8}, "size"),
    "not ours": ({"output": "theirs"}, "theirs is not empty, and no report"),
    "a file as report": ({"output": "net.onnx"}, "net.onnx is a file"),
    "no parent": ({"output": "no/such/out"}, "there is no directory"),
    "in the pictures": ({"output": "pics/out"}, "lies in the folder of pictures"),
    "option": ({"sise": 8}, "unknown option 'sise'; accepted: size"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(here, name):
    (here / "empty").mkdir()
    (here / "theirs").mkdir()
    (here / "theirs" / "thesis.txt").write_text("precious")
    before = contents(here)
    given, part = BAD[name]
    chosen = {"pictures": "pics", "output": "out", "layer": "conv2_1", **SMALL, **given}
    with pytest.raises(Error) as caught:
        deconvnet(chosen.pop("pictures"), **chosen)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(here) == before
    assert not Path("out").exists()


def test_a_report_of_other_settings_is_left_alone(here):
    deconvnet("pics", output="out", layer="conv1_1", unit="0", **SMALL)
    before = contents(here / "out")
    for given, part in (
        ({"layer": "conv2_1"}, r'another layer \(\["conv1_1"\], got \["conv2_1"\]\)'),
        ({"size": 48}, r"another size \(32, got 48\)"),
        ({"rule": "guided"}, "another rule"),
    ):
        with pytest.raises(Error, match=part):
            deconvnet("pics", output="out", **{"layer": "conv1_1", "unit": "0", **SMALL, **given})
    os.utime("pics/p03.png", (1, 1))
    with pytest.raises(Error, match="another pictures' names, sizes and times"):
        deconvnet("pics", output="out", layer="conv1_1", unit="0", **SMALL)
    assert contents(here / "out") == before


def test_a_network_that_gives_nan(here):
    tensors = nets.weights(COUNTS, WIDTHS)
    tensors["conv1_1.bias"][0] = np.nan
    with pytest.raises(Error, match=r"layer conv1_1 is NaN or infinite for p00\.png"):
        deconvnet("pics", output="out", layer="conv1_1", network=nets.narrow(tensors, COUNTS), size=32)
    assert not Path("out").exists()


def test_help_says_what_there_is(capsys):
    assert main(["deconvnet", "--help"]) == 0
    text = capsys.readouterr().out
    for option in [
        "--layer",
        "--unit",
        "--rule",
        "--size",
        "--top",
        "--batch",
        "--network",
        "--preprocess",
        "--output",
        "--quiet",
    ]:
        assert option in text
    for option in ("--trace", "--plot", "--save-every"):
        assert option not in text
