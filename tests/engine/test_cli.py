"""The command line as a user meets it: what it makes, and the one line for a bad option."""

import json
import os
import re

import cv2
import numpy as np
import onnx
import pytest
import stylogram
from engine.command import FAST, prepared, refused, stylize
from stylogram import pictures
from stylogram.cli import main
from stylogram.errors import Error
from stylogram_export.network import save

from engine import nets


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a content, a style and a narrow network, and nothing else."""
    return prepared(tmp_path, monkeypatch)


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


def test_an_option_without_which_nothing_can_be_made(here, capsys):
    for command, option in ((["deconvnet", "."], "--layer"), (["compare", "net.onnx"], "--pictures")):
        assert main([*command, "--help"]) == 0
        said = capsys.readouterr().out
        assert "[required]" in said.partition(option)[2]
        assert "Undefined" not in said
        assert main([*command, "-o", "report"]) == 2
        assert refused(capsys, option)
        with pytest.raises(Error, match=f"^{option[2:]}: it is needed, got none$"):
            getattr(stylogram, command[0])(command[1], output="report")


def test_a_layer_of_a_preset_that_a_network_lacks_is_said_to_be_the_preset_s(here, capsys):
    assert stylize("--preset", "keras", network="seednet") == 2
    assert refused(capsys, "preset: keras takes block5_conv2 of a VGG (--content-layers A,B: others); seednet: unknown")
    assert stylize("--preset", "keras", "--content-layers", "conv9_9", network="seednet") == 2
    assert capsys.readouterr().err.startswith("error: unknown layer 'conv9_9'")
    assert stylize("--preset", "keras", "--content-layers", "conv4_2", network="seednet") == 0


def test_an_unknown_command_of_a_command(here, capsys):
    assert main(["network", "lsit"]) == 2
    assert refused(capsys, "unknown command 'lsit'; accepted: list, ")


def test_a_bad_list_of_units_names_its_option_once(here, capsys):
    assert main(["dream", "content.png", "-o", "out.png", "--network", "net.onnx", "--channel", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: channel: numbers joined by commas")


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
    "unknown option": ("--sise", "4", "unknown option '--sise'; accepted: --size, "),
    "a file that looks like an option": ("-photo.png", "4", "a file whose name begins with - is given as ./-NAME"),
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
