"""Deconvnet: projections by hand, maxima against a brute-force pass, what a unit sees, and runs that are stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from stylogram import Error, pictures
from stylogram.cli import main
from stylogram.folder import Folder, ahead, batches
from stylogram.maxima import Top, peaks
from stylogram.project import Kept, Projector
from stylogram.session import features_of
from stylogram.tasks.deconvnet import deconvnet
from stylogram.tiles import Box, box, cropped, stretched
from stylogram_export.layers import Layers
from stylogram_export.network import Network, folded, save
from stylogram_export.preprocess import PREPROCESS
from stylogram_export.receptive import Field, fields
from stylogram_export.specialise import specialise

from engine import nets

COUNTS, WIDTHS = (1, 1, 1), (6, 8, 10)


def network(*nodes, constants=None, tap="y"):
    """A network of our own making; `x` is the picture, `tap` its layer, called `deep`."""
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes), "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(tap, TensorProto.FLOAT, None)], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Network("hand", model, PREPROCESS["unit"], Layers({"deep": tap}, ("deep",), ("deep",)))


def projected(net, picture, place, value=1.0, rule="deconvnet", unit=0):
    """One projection (3,H,W) of a picture (3,H,W)."""
    projector = Projector(net, "y", picture.shape[1], rule, 2)
    ((tag, found),) = projector.run([(picture[None], [Kept("tag", unit, place, value)])])
    assert tag == "tag"
    return found


def test_a_convolution_of_ones_by_hand():
    """4x4 through a 3x3 of ones is 2x2: the second place sees rows 0-2, columns 1-3, and its value goes back there."""
    net = network(
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
    net = network(
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
    return network(
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


def shift_sum():
    """Two branches that are joined, a pool, and a convolution; all weights positive: whatever is seen counts."""
    return network(
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


@pytest.mark.parametrize("place", [(2, 2), (0, 0), (1, 4)])
def test_a_box_is_exactly_the_pixels_that_change_the_unit(place):
    net, size = shift_sum(), 32
    model = specialise(folded(net, ["y"]), (1, 3, size, size))
    shape = [one.dim_value for one in model.graph.output[0].type.tensor_type.shape.dim]
    seen = box(fields(model)["y"], place[0] * shape[3] + place[1], shape[3], size)
    many = np.zeros((size * size, 3, size, size), np.float32)
    many.reshape(size * size, 3, -1)[range(size * size), 0, range(size * size)] = 100
    lit = features_of(folded(net, ["y"]), ["y"], many)["y"][:, 0, place[0], place[1]] > 0
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


def test_reading_ahead_is_bounded_and_stops_with_its_reader():
    started, gate = [], threading.Semaphore(0)

    def job(number):
        started.append(number)
        gate.release()
        return number

    found = ahead((lambda n=n: job(n) for n in range(100)), depth=2)
    assert next(found) == 0
    for _ in range(3):
        assert gate.acquire(timeout=10)
    assert started == [0, 1, 2]
    found.close()
    assert threading.active_count() == 1 or not any("reader" in one.name for one in threading.enumerate())


def test_squares_are_the_middle_of_the_picture(tmp_path):
    rgb = np.zeros((20, 60, 3), "f4")
    rgb[:, 20:40] = 1
    pictures.write(tmp_path / "wide.png", rgb)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "deeper").mkdir()
    pictures.write(tmp_path / "deeper" / "tall.PNG".lower(), rgb.transpose(1, 0, 2))
    folder = Folder.scan(tmp_path)
    assert folder.names == ("deeper/tall.png", "wide.png")
    (batch,) = batches(folder, [16, 24], 4)
    assert batch.squares[16].shape == (4, 3, 16, 16)
    assert batch.squares[24][:2].min() > 0.999
    assert not batch.squares[24][2:].any()


@pytest.mark.parametrize("side", [48, 60, 131, 200, 400])
def test_jpeg_files_are_read_as_others_are(tmp_path, side):
    """Bytes, and decoded smaller where they are large: within rounding, and within the other filter where reduced."""
    smooth = pictures.resized(nets.blocks(6, 8, 5, 1), (side, side))
    pictures.write(tmp_path / "a.jpg", smooth)
    found = Folder.scan(tmp_path).squares(0, [48, 32])
    read = pictures.read(tmp_path / "a.jpg").rgb
    for size, square in found.items():
        expected = pictures.to_batch(pictures.resized(read, (size, size)))[0]
        assert square.dtype == np.float32
        assert square.flags.c_contiguous
        bound = 1 / 255 if side < 4 * 48 else 0.015  # 200 and 400 are decoded at a half and a quarter
        assert np.abs(square - expected).max() <= bound * 1.01


def test_a_turned_jpeg_file_is_turned(tmp_path):
    rgb = np.zeros((64, 64, 3), "f4")
    rgb[:32] = 1
    pictures.write(tmp_path / "a.jpg", rgb)
    plain = (tmp_path / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"  # orientation 3: upside down
    (tmp_path / "b.jpg").write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    folder = Folder.scan(tmp_path)
    upright, turned = (folder.squares(number, [32])[32] for number in (0, 1))
    assert upright[:, 2].min() > 0.9
    np.testing.assert_allclose(turned, upright[:, ::-1, ::-1], atol=0.02)


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


def test_maxima_against_a_brute_force_pass(here):
    """Every picture alone through the forward graph: the same nine, the same places, the same values."""
    report = deconvnet("pics", output="out", layer="conv2_1", **SMALL)
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
    net = network(
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
