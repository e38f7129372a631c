"""The command line as a user meets it: what it makes, and the one line for everything that is wrong."""

import json
import os
import re
import signal

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from stylogram import pictures
from stylogram.cli import main
from stylogram_export.network import save

from engine import nets

FAST = ["--size", "48", "--iterations", "3", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a content, a style and a narrow network, and nothing else."""
    pictures.write(tmp_path / "content.png", nets.blocks(36, 48, 1))
    pictures.write(tmp_path / "style.png", nets.blocks(40, 40, 2))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stylize(*more, content="content.png", style=("style.png",), out="out.png", network="net.onnx"):
    chosen = [] if network is None else ["--network", network]
    return main(["stylize", str(content), *map(str, style), "-o", str(out), *FAST, *chosen, *more])


def refused(capsys, *parts):
    """The one line on stderr, with every part in it."""
    line = capsys.readouterr().err
    assert line.startswith("error: "), line
    assert line.count("\n") == 1, line
    for part in parts:
        assert part in line
    return True


def test_it_makes_a_picture_of_the_content_s_aspect(here, capsys):
    assert stylize("--iterations", "12") == 0
    out = pictures.read(here / "out.png")
    assert out.rgb.shape == (36, 48, 3)
    assert np.abs(out.rgb - pictures.read(here / "content.png").rgb).max() > 0.02
    assert capsys.readouterr() == ("", "")


def test_without_quiet_the_last_line_says_what_was_made(here, capsys):
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", "--network", "net.onnx", *FAST[:-1]]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("out.png: 48x36, loss ")


def test_trace_plot_and_pictures_in_between(here):
    assert stylize("--trace", "t.jsonl", "--plot", "p.png", "--save-every", "2", "--scales", "2") == 0
    rows = [json.loads(line) for line in (here / "t.jsonl").read_text().splitlines()]
    assert [(row["scale"], row["iteration"]) for row in rows] == [(s, i) for s in (1, 2) for i in range(4)]
    assert all(set(row) == {"scale", "iteration", "seconds", "loss", "terms"} for row in rows)
    assert all(sum(row["terms"].values()) == pytest.approx(row["loss"]) for row in rows)
    assert rows[-1]["loss"] < rows[4]["loss"]
    assert cv2.imread(str(here / "p.png")).shape[0] > 100
    assert pictures.read(here / "out-s1-00002.png").rgb.shape == (36, 48, 3)
    assert pictures.read(here / "out-s2-00002.png").rgb.shape == (36, 48, 3)


@pytest.mark.parametrize("content", ["content.png", "deep.png"])
def test_a_picture_in_between_is_what_the_run_would_have_ended_with(here, content):
    """Its colours, its alpha and its 16 bits too."""
    alpha = np.linspace(0, 1, 36 * 48).reshape(36, 48)
    pictures.write(here / "deep.png", nets.blocks(36, 48, 1), alpha, 16)
    colours = ["--keep-colors", "luminance"]
    assert stylize("--save-every", "2", "--iterations", "5", *colours, content=content) == 0
    assert stylize("--iterations", "2", *colours, content=content, out="two.png") == 0
    between = (here / "out-00002.png").read_bytes()
    assert between == (here / "two.png").read_bytes() != (here / "out-00004.png").read_bytes()
    assert pictures.read(here / "out-00002.png").depth == (16 if content == "deep.png" else 8)


def test_the_same_seed_gives_the_same_bytes(here):
    def made(name, seed):
        assert stylize("--init", "random", "--seed", seed, out=name) == 0
        return (here / name).read_bytes()

    assert made("a.png", "5") == made("b.png", "5") != made("c.png", "6")


def test_help_lists_the_commands_and_every_option(here, capsys):
    assert main(["--help"]) == 0
    assert "stylize" in capsys.readouterr().out
    assert main(["stylize", "--help"]) == 0
    text = capsys.readouterr().out
    options = (
        "network preprocess device threads size iterations optimizer learning-rate seed init pooling content-layers "
        "style-layers content-weight style-weight tv-weight preset style-blend style-scale keep-colors trace "
        "save-every quiet scales mask plot"
    )
    for option in options.split():
        assert f"--{option}" in text, option


BAD_OPTIONS = {
    "network": ("--network", "vgg91", "vgg19"),
    "network file": ("--network", "missing.onnx", "missing.onnx"),
    "style layer": ("--style-layers", "conv1_1,conv9_1", "conv9_1"),
    "content layer": ("--content-layers", "cnov4_2", "accepted: conv4_2"),
    "preset": ("--preset", "kears", "accepted: keras"),
    "device": ("--device", "gpu", "accepted: cpu"),
    "preprocess": ("--preprocess", "imagnet", "accepted: imagenet"),
    "pooling": ("--pooling", "agv", "unknown pooling 'agv'; accepted: avg, max"),
    "colours": ("--keep-colors", "linaer", "unknown keep-colors 'linaer'; accepted: linear, luminance, histogram"),
    "iterations": ("--iterations", "0", "got '0'"),
    "size": ("--size", "big", "got 'big'"),
    "blend": ("--style-blend", "1,2", "as many numbers as styles are needed (1), got 2"),
    "blend of words": ("--style-blend", "1,x", "style-blend (number 2): should be a valid number"),
    "blend with a gap": ("--style-blend", "1,,2", "style-blend: a list joined by commas must have no empty part"),
    "blend of nothing": ("--style-blend", "0", "at least one number must be above 0"),
    "negative weight": ("--style-weight", "-3", "greater than or equal to 0"),
    "layer weights of zero": ("--style-layers", "conv1_1=0", "at least one weight must be above 0"),
    "init": ("--init", "contnet", "contnet"),
    "trace": ("--trace", "no/such/t.jsonl", "no/such"),
    "style loss": ("--style-loss", "gramm", "accepted: gram"),
    "an empty list": ("--style-layers", "conv1_1,", "style-layers: a list joined by commas must have no empty part"),
    "a layer named twice": ("--style-layers", "conv1_1,conv1_1=2", "style-layers: layer 'conv1_1' is named twice"),
    "plot over the picture": ("--plot", "out.png", "must be different files"),
    "one layer twice": ("--style-layers", "conv1_1,relu1_1", "are the same layer"),
    "unknown option": ("--sise", "4", "--size"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option(here, capsys, name):
    option, value, part = BAD_OPTIONS[name]
    assert stylize(option, value) == 2
    assert refused(capsys, part)
    assert sorted(os.listdir(here)) == ["content.png", "net.onnx", "style.png"]


def _stylize_slim(*more):
    """A content of 300x16 pixels and a style of 16x200."""
    pictures.write("slim.png", nets.blocks(16, 300, 1))
    pictures.write("tall.png", nets.blocks(200, 16, 2))
    return stylize("--iterations", "1", *more, content="slim.png", style=["tall.png"])


@pytest.mark.parametrize(
    "given",
    [
        ["--size", "64", "--scales", "8"],
        ["--size", "48"],
        ["--size", "300", "--scales", "2"],
        ["--size", "300", "--style-scale", "0.4"],
        ["--size", "640"],
        ["--size", "600", "--scales", "3", "--style-scale", "0.7"],
    ],
    ids=" ".join,
)
def test_advice_about_sizes_and_scales_works(here, capsys, given):
    """What a refusal says is tried, until nothing is refused: each picture may be refused once."""
    chosen = dict(zip(given[::2], given[1::2], strict=True))
    for _ in range(4):
        if _stylize_slim(*(word for pair in chosen.items() for word in pair)) == 0:
            return
        line = capsys.readouterr().err
        advice = dict(re.findall(r"(--\w+) (\d+)", line.partition("accepted: ")[2]))
        assert set(advice) <= {"--size", "--scales"}, line
        assert advice, line
        chosen |= advice
    raise AssertionError(line)


def test_too_many_scales_name_the_number_that_is_possible(here, capsys):
    assert stylize("--scales", "8") == 2
    assert refused(capsys, "content: 48x36 pixels", "at the coarsest of 8 scales; accepted: at most --scales 2")
    assert stylize("--scales", "3") == 2
    assert stylize("--scales", "2") == 0


def test_an_unknown_command_lists_those_there_are(here, capsys):
    assert main(["styliz", "a.png"]) == 2
    assert refused(capsys, "unknown command 'styliz'; accepted: stylize, ")


def test_all_weights_zero(here, capsys):
    assert stylize("--style-weight", "0", "--content-weight", "0") == 2
    assert refused(capsys, "nothing to optimise")


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


def test_a_picture_in_between_that_cannot_be_written_does_not_end_the_run(here, capsys):
    (here / "out-00001.png").mkdir()
    command = ["stylize", "content.png", "style.png", "-o", "out.png", "--network", "net.onnx", *FAST[:-1]]
    assert main([*command, "--save-every", "1"]) == 0
    assert "note: " in capsys.readouterr().err
    assert pictures.read(here / "out.png").rgb.shape == (36, 48, 3)


def test_notes_say_what_was_decided(here, capsys):
    save(nets.narrow(), here / "net.onnx")
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    onnx.save(model, "foreign.onnx")
    pictures.write(here / "mask.png", np.ones((20, 20, 3), "f4"))
    assert main(["stylize", "content.png", "style.png", "-o", "out.jpg", *FAST[:-1], "--network", "foreign.onnx",
                 "--mask", "mask.png", "style.png"]) == 0  # fmt: skip
    said = capsys.readouterr().err
    assert "imagenet is assumed" in said
    assert "content mask 1 is 20x20, the content 48x36: the mask is resized" in said
    assert "style mask" not in said
