"""What can go wrong with the command line: pictures, outputs, networks, losses, Ctrl-C; one line for each."""

import os
import signal

import cv2
import numpy as np
import onnx
import pytest
from engine.command import FAST, prepared, refused, stylize
from onnx import TensorProto, helper, numpy_helper
from stylogram import pictures
from stylogram.cli import main

from engine import nets


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a content, a style and a narrow network, and nothing else."""
    return prepared(tmp_path, monkeypatch)


def _bad_picture(kind, path, good):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a picture, whatever its name says\n")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:-40])
    elif kind == "directory":
        path.mkdir()
    elif kind == "pixel":
        cv2.imwrite(str(path), np.zeros((1, 1, 3), np.uint8))
    elif kind == "ribbon":
        cv2.imwrite(str(path), np.zeros((2, 30000, 3), np.uint8))
    else:
        assert kind == "missing"


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "directory", "pixel", "ribbon"])
@pytest.mark.parametrize("role", ["content", "style", "mask", "init"])
def test_a_bad_picture(here, capsys, kind, role):
    bad = here / "bad.png"
    _bad_picture(kind, bad, here / "content.png")
    before = sorted(os.listdir(here))
    if role == "mask":
        status = stylize("--mask", "bad.png", "style.png")
    elif role == "init":
        status = stylize("--init", "bad.png")
    else:
        status = stylize(content="bad.png") if role == "content" else stylize(style=["style.png", "bad.png"])
    assert status == 2
    assert refused(capsys, "bad.png")
    assert sorted(os.listdir(here)) == before


def test_nan_in_a_float_tiff(here, capsys):
    spoilt = nets.blocks(32, 32, 1)
    spoilt[3, 4, 0] = np.nan
    cv2.imwrite(str(here / "nan.tiff"), spoilt)
    assert stylize(content="nan.tiff") == 2
    assert refused(capsys, "nan.tiff", "NaN")


def test_a_panorama_too_thin_after_scaling(here, capsys):
    pictures.write(here / "thin.png", nets.blocks(16, 300, 1))
    assert stylize(content="thin.png") == 2
    assert refused(capsys, "16")


@pytest.mark.parametrize(
    ("out", "part"), [("no/dir/o.png", "no/dir"), ("folder.png", "directory"), ("o.gif", ".png"), ("o", ".png")]
)
def test_a_bad_output_is_refused_before_computing(here, capsys, out, part):
    (here / "folder.png").mkdir()
    assert stylize(out=out, content="not-even-looked-at.png") == 2
    assert refused(capsys, part)


def test_an_existing_output_survives_a_refusal(here, capsys):
    (here / "out.png").write_bytes(b"precious")
    assert stylize(content="missing.png") == 2
    assert (here / "out.png").read_bytes() == b"precious"
    assert refused(capsys)


def test_a_full_disk_leaves_the_old_file(here, capsys, monkeypatch):
    (here / "out.png").write_bytes(b"precious")
    real = os.fsync

    def full(descriptor):
        real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert stylize() == 2
    assert refused(capsys, "No space left on device")
    assert (here / "out.png").read_bytes() == b"precious"
    assert sorted(os.listdir(here)) == ["content.png", "net.onnx", "out.png", "style.png"]


def _failing(monkeypatch, *names):
    """The disk takes everything but files of these names."""
    real = os.replace

    def replace(source, target):
        if os.path.basename(target) in names:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


OUTPUTS = ["out.png", "t.jsonl", "p.png"]


@pytest.mark.parametrize("names", [OUTPUTS[:1], OUTPUTS[1:2], OUTPUTS[2:], OUTPUTS[:2], OUTPUTS], ids=",".join)
def test_each_output_is_tried_and_every_failure_said(here, capsys, monkeypatch, names):
    _failing(monkeypatch, *names)
    assert stylize("--trace", "t.jsonl", "--plot", "p.png") == 2
    written = [name for name in OUTPUTS if name not in names]
    assert refused(
        capsys, *(f"{name} cannot be written" for name in names), *(f"{name} is written" for name in written)
    )
    assert [name for name in OUTPUTS if (here / name).exists()] == written


def test_an_interrupted_run_says_what_it_could_not_save(here, capsys, monkeypatch):
    from stylogram.monitor import Monitor

    def press(self, progress):
        if progress.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Monitor, "_show", press)
    _failing(monkeypatch, "t.jsonl")
    command = ["stylize", "content.png", "style.png", "-o", "out.png", "--network", "net.onnx", *FAST[:-1]]
    assert main([*command, "--trace", "t.jsonl"]) == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted: the best picture so far (scale 1, iteration 2): t.jsonl cannot be written: No")
    assert said.endswith("; out.png is written\n")
    assert (here / "out.png").exists()


def _model(nodes, inputs=("x",), constants=(), shape=("N", 3, "H", "W")):
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)], list(constants),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _conv(x="x", y="y"):
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("f4"), "w")
    return helper.make_node("Conv", [x, "w"], ["z"], pads=[1] * 4), helper.make_node("Relu", ["z"], [y]), weight


def test_bad_networks(here, capsys):
    (here / "corrupt.onnx").write_bytes((here / "net.onnx").read_bytes()[:5000])
    assert stylize(network="corrupt.onnx") == 2
    assert refused(capsys, "corrupt.onnx")

    conv, relu, weight = _conv()
    two = _model([helper.make_node("Add", ["x", "b"], ["s"]), _conv("s")[0], relu], ("x", "b"), [weight])
    onnx.save(two, "two.onnx")
    assert stylize(network="two.onnx") == 2
    assert refused(capsys, "two.onnx", "one input", "got 2: x, b")

    strange = helper.make_node("NonMaxSuppression", ["y", "y"], ["k"], name="strange")
    odd = helper.make_node("Unique", ["y"], ["u"], name="odd")
    onnx.save(_model([conv, relu, odd], (), [weight]), "none.onnx")
    assert stylize(network="none.onnx") == 2
    assert refused(capsys, "none.onnx")
    unsupported = _model(
        [conv, relu, helper.make_node("Det", ["y"], ["d"], name="the_det"), strange][:3], ("x",), [weight]
    )
    onnx.save(unsupported, "det.onnx")
    assert stylize("--style-layers", "d", "--content-layers", "y", network="det.onnx") == 2
    assert refused(capsys, "Det", "the_det")

    shape = numpy_helper.from_array(np.array([1, 4 * 48 * 48]), "shape")
    fixed = _model(
        [conv, relu, helper.make_node("Reshape", ["y", "shape"], ["flat"], name="flatten")], ("x",), [weight, shape]
    )
    onnx.save(fixed, "fixed.onnx")
    assert stylize("--style-layers", "y", "--content-layers", "flat", network="fixed.onnx") == 2
    assert refused(capsys, "flatten")


def test_weights_that_are_nan(here, capsys):
    conv, relu, weight = _conv()
    spoilt = numpy_helper.from_array(np.full_like(numpy_helper.to_array(weight), np.nan), "w")
    onnx.save(_model([conv, relu], ("x",), [spoilt]), "nan.onnx")
    assert stylize(network="nan.onnx") == 2
    assert refused(capsys, "conv1_1", "the network's weights are NaN, or too large")


def test_a_loss_that_becomes_nan_keeps_the_last_good_picture(here, capsys, monkeypatch):
    """The third evaluation gives NaN; gradient descent cannot take it back."""
    from stylogram.objective import Objective

    real, calls = Objective.evaluate, []

    def spoilt(self):
        real(self)
        calls.append(1)
        if len(calls) == 3:
            self.total[:] = np.nan

    monkeypatch.setattr(Objective, "evaluate", spoilt)
    assert stylize("--optimizer", "sgd", "--learning-rate", "0.001", "--trace", "t.jsonl") == 2
    assert refused(
        capsys, "iteration 2", "--learning-rate", "the last good picture (scale 1, iteration 1) is in out.png"
    )
    assert pictures.read(here / "out.png").rgb.shape == (36, 48, 3)
    assert len((here / "t.jsonl").read_text().splitlines()) == 2


def test_a_run_that_fails_at_once_leaves_an_old_output_alone(here, capsys):
    (here / "out.png").write_bytes(b"precious")
    assert stylize("--optimizer", "sgd", "--learning-rate", "1e30") == 2
    assert refused(capsys, "iteration 1", "nothing is written")
    assert stylize("--style-weight", "1e45") == 2
    assert refused(capsys, "the gradient became infinite at the initial picture", "nothing is written")
    assert (here / "out.png").read_bytes() == b"precious"


def test_ctrl_c_keeps_the_best_picture_however_often_it_is_pressed(here, capsys, monkeypatch):
    from stylogram.monitor import Monitor

    real = Monitor._show

    def press(self, progress):
        real(self, progress)
        if progress.iteration >= 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Monitor, "_show", press)
    before = signal.getsignal(signal.SIGINT)
    command = ["stylize", "content.png", "style.png", "-o", "out.png", "--network", "net.onnx", *FAST[:-1]]
    assert main(command) == 130
    said = capsys.readouterr().err
    assert said == "interrupted: the best picture so far (scale 1, iteration 2) is in out.png\n"
    assert pictures.read(here / "out.png").rgb.shape == (36, 48, 3)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_quiet_an_error_is_one_line_too(here, capsys):
    command = ["stylize", "missing.png", "style.png", "-o", "out.png", "--network", "net.onnx"]
    assert main(command) == 2
    assert refused(capsys, "missing.png")


def test_an_output_over_an_input_is_refused(here, capsys):
    before = (here / "content.png").read_bytes()
    assert stylize(out="content.png") == 2
    assert refused(capsys, "content.png is one of the inputs")
    assert (here / "content.png").read_bytes() == before


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("out.png", ["--plot", "content.png"]),
        ("out.png", ["--plot", "style.png"]),
        ("mask.png", ["--mask", "mask.png", "style.png"]),
        ("mask.png", ["--mask", "content.png", "./mask.png"]),
        ("start.png", ["--init", "start.png"]),
    ],
)
def test_no_output_takes_the_place_of_an_input(here, capsys, out, options):
    for name in ("mask.png", "start.png"):
        pictures.write(here / name, nets.blocks(36, 48, 3))
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    assert stylize(*options, out=out) == 2
    assert refused(capsys, "is one of the inputs")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_nor_does_a_picture_in_between(here, capsys):
    os.rename(here / "content.png", here / "out-00002.png")
    assert stylize("--save-every", "2", content="out-00002.png") == 2
    assert refused(capsys, "out-00002.png is one of the inputs", "out.png")
    assert stylize(content="out-00002.png") == 0
    os.rename(here / "style.png", here / "out-s1-00002.png")
    assert stylize("--save-every", "2", style=["out-s1-00002.png"], content="out.png", out="other.png") == 0


def test_nor_does_a_frame_or_a_dream_on_its_guide(here, capsys):
    os.rename(here / "content.png", here / "out-frame0001.png")
    command = ["dream", "out-frame0001.png", "--network", "net.onnx", "--size", "32", "--octaves", "1", "--quiet"]
    assert main([*command, "-o", "out.png", "--zoom-frames", "2"]) == 2
    assert refused(capsys, "out-frame0001.png is one of the inputs")
    assert main([*command, "-o", "style.png", "--guide", "style.png"]) == 2
    assert refused(capsys, "style.png is one of the inputs")


def test_a_size_that_no_memory_is_enough_for(here, capsys, monkeypatch):
    def full(*_, **__):
        problem = cv2.error("Failed to allocate 41231843328 bytes")
        problem.code = cv2.Error.StsNoMem
        raise problem

    monkeypatch.setattr(cv2, "resize", full)
    assert stylize() == 2
    assert refused(capsys, "out of memory", "--size")
    assert not (here / "out.png").exists()


@pytest.mark.parametrize(
    "command",
    ["stylize content.png style.png", "deconvnet . --layer conv1_1", "batch --content . --style .", "demo",
     "network export net.onnx", "bench"],
)  # fmt: skip
def test_an_empty_name_is_not_the_present_directory(here, capsys, command):
    before = sorted(os.listdir(here))
    assert main([*command.split(), "-o", ""]) == 2
    assert refused(capsys, "output: a name is accepted, got an empty one")
    assert main(["stylize", "", "style.png", "-o", "out.png"]) == 2
    assert refused(capsys, "there is no file ''")
    assert stylize(network="") == 2
    assert refused(capsys, "unknown network ''; accepted: seednet")
    assert sorted(os.listdir(here)) == before


def test_links_in_a_circle(here, capsys):
    os.symlink("circle.png", here / "circle.png")
    assert stylize(content="circle.png") == 2
    assert refused(capsys, "circle.png", "symbolic links")
    assert stylize(out="circle.png") == 2
    assert refused(capsys, "circle.png")


def test_a_picture_in_between_that_cannot_be_written_does_not_end_the_run(here, capsys):
    (here / "out-00001.png").mkdir()
    command = ["stylize", "content.png", "style.png", "-o", "out.png", "--network", "net.onnx", *FAST[:-1]]
    assert main([*command, "--save-every", "1"]) == 0
    assert "note: " in capsys.readouterr().err
    assert pictures.read(here / "out.png").rgb.shape == (36, 48, 3)
