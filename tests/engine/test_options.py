"""What is accepted, and the one line that is said of what is not."""

import re
from pathlib import Path

import numpy as np
import pytest
import stylogram
from stylogram.errors import Error
from stylogram.options import checked
from stylogram.recipes import PRESETS
from stylogram.tasks.stylize import Options

FOLDER = Path(__file__).parents[2] / "docs"  # of pictures


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sise": 3}, r"unknown option 'sise'; accepted: size, "),
        ({"size": "large"}, r"^size: should be a valid integer.*got 'large'$"),
        ({"size": 0}, r"^size: should be greater than or equal to 16, got 0$"),
        ({"iterations": 0}, r"^iterations: should be greater than or equal to 1, got 0$"),
        ({"style_weight": -1}, r"^style-weight: should be greater than or equal to 0, got -1$"),
        ({"style_weight": "nan"}, r"^style-weight: "),
        ({"tv_weight": "inf"}, r"^tv-weight: "),
        ({"optimizer": "lbgfs"}, r"unknown optimizer 'lbgfs'; accepted: lbfgs, "),
        ({"preset": "gatis"}, r"unknown preset 'gatis'; accepted: gatys, "),
        ({"pooling": "agv"}, r"^unknown pooling 'agv'; accepted: avg, max$"),
        ({"pooling": 3}, r"^unknown pooling '3'; accepted: max, avg$"),
        ({"keep_colors": "linaer"}, r"^unknown keep-colors 'linaer'; accepted: linear, luminance, histogram$"),
        ({"preset": 3}, r"unknown preset '3'"),
        ({"optimizer": []}, r"unknown optimizer"),
        ({"device": None}, r"unknown device 'None'"),
        ({"style_layers": 5}, r"^style-layers: names joined by commas are accepted"),
        ({"content_layers": ["a", 3]}, r"^content-layers: names joined by commas are accepted"),
        ({"style_layers": []}, r"^style-layers: names joined by commas are accepted"),
        ({"content_layers": "a,,b"}, r"^content-layers: a list joined by commas must have no empty part, got 'a,,b'$"),
        ({"style_layers": "a,b,a=2"}, r"^style-layers: layer 'a' is named twice$"),
        ({"style_blend": "1,,2"}, r"^style-blend: a list joined by commas must have no empty part, got '1,,2'$"),
        ({"style_blend": "1,x"}, r"^style-blend \(number 2\): should be a valid number.*got 'x'$"),
        ({"style_blend": (-1, -1)}, r"^style-blend \(number 1\): should be greater than or equal to 0, got -1$"),
        ({"init": 5}, r"^init: should be a valid string or a path or an instance of ndarray, got 5$"),
        ({"mask": ((1, 2),)}, r"^mask \(number 1, number 1\): should be a valid string or a path or .*, got 1$"),
        (
            {"mask": ("a.png", "b.png")},
            r"^mask: a list of pairs \(CONTENT_MASK, STYLE_MASK\) is accepted, got 'a.png' for a",
        ),
        ({"mask": [np.ones((20, 20))]}, r"^mask: a list of pairs .*, got an array of shape \(20, 20\) for a pair$"),
        ({"mask": "a.png"}, r"^mask: a list of pairs .*, got 'a.png' for a pair$"),
        ({"precision": None}, r"^unknown precision 'None'; accepted: fp32, "),
        ({"size": [np.ones((20, 20))]}, r"^size: should be a valid integer, got "),
        ({"device": "gpu"}, r"unknown device 'gpu'; accepted: .*cuda"),
        ({"style_layers": "conv1_1=x"}, r"^style-layers: the weight of layer 'conv1_1' must be a number, got 'x'"),
        ({"style_layers": "conv1_1=-2"}, r"^style-layers \(conv1_1\): should be greater than or equal to 0"),
        ({"style_blend": "1,-2"}, r"^style-blend \(number 2\): should be greater than or equal to 0"),
        ({"init_noise": 1.5}, r"^init-noise: should be less than or equal to 1"),
        ({"learning_rate": 0}, r"^learning-rate: should be greater than 0"),
        ({"threads": -1}, r"^threads: "),
        ({"scales": 0}, r"^scales: "),
        ({"seed": -1}, r"^seed: "),
    ],
)
def test_a_bad_option_is_one_clear_line(given, message):
    with pytest.raises(Error, match=message) as caught:
        checked(Options, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: stylogram.deconvnet(5, output=out, layer="conv1_1"), "^pictures: should be a path, got 5$"),
        (lambda _: stylogram.deconvnet(".", output=None, layer="conv1_1"), "^output: should be a path, got None$"),
        (lambda out: stylogram.deconvnet(".", output=out, callback=5), "^callback: a function of one Step is accepted"),
        (lambda out: stylogram.compare(5, output=out, pictures="."), "^networks: names, files or Networks are"),
        (lambda out: stylogram.compare([5], output=out, pictures=FOLDER), "^network: should be a valid string or a"),
        (lambda _: stylogram.batch([{}], output=5), "^output: should be a path, got 5$"),
        (lambda out: stylogram.batch(content=5, style=".", output=out), "^content: should be a path, got 5$"),
        (lambda out: stylogram.batch([{}], output=out, ray=5), "^ray: auto, or HOST:PORT of a cluster's head"),
        (lambda out: stylogram.batch([{"content": np.ones((9, 9)), "style": "b"}], output=out),
         r"content: a picture's path is accepted, got an array of shape \(9, 9\)$"),
    ],
)  # fmt: skip
def test_what_has_the_wrong_type_is_one_line_and_nothing_is_made(tmp_path, call, message):
    with pytest.raises(Error, match=message) as caught:
        call(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_layers_and_numbers_are_read_as_text_or_as_values():
    text = checked(Options, {"style_layers": "conv1_1=2,conv2_1", "style_blend": "1, 3"})
    values = checked(Options, {"style_layers": {"conv1_1": 2, "conv2_1": 1}, "style_blend": (1, 3)})
    names = checked(Options, {"style_layers": ["conv1_1=2", "conv2_1"]})
    assert text.style_layers == values.style_layers == names.style_layers == {"conv1_1": 2.0, "conv2_1": 1.0}
    assert text.style_blend == values.style_blend == (1.0, 3.0)


def test_what_is_given_goes_over_the_preset():
    recipe = checked(Options, {"preset": "gatys", "style_weight": 7, "history": 5}).recipe()
    assert (recipe.style_weight, recipe.optimiser.history) == (7, 5)
    assert recipe.content_layers == PRESETS["gatys"].content_layers
    assert recipe.iterations == (500, 200)


def test_iterations_and_scales():
    def iterations(**given):
        return checked(Options, given).recipe().iterations

    assert iterations(preset="gatys", iterations=9) == (9, 9)
    assert iterations(preset="gatys", scales=1) == (500,)
    assert iterations(iterations=40, scales=3) == (40, 40, 40)
    assert iterations(preset="gatys", scales=3) == (500, 500, 200)


def test_the_default_goes_from_coarse_to_fine_as_the_size_grows():
    def scales(**given):
        return len(checked(Options, given).recipe().iterations)

    assert [scales(size=size) for size in (64, 256, 384, 512, 1024, 2048)] == [1, 1, 1, 2, 3, 4]
    assert [scales(size=size, init="random") for size in (64, 256, 512)] == [1, 2, 3]
    assert scales(size=1024, scales=1) == 1
    assert scales(preset="neural-style", size=1024) == 1


def test_another_optimizer_takes_its_own_learning_rate():
    """The preset's 100 · 0.96^(k/100) is for its gradient descent; L-BFGS with it would leap."""
    recipe = checked(Options, {"preset": "keras", "optimizer": "lbfgs"}).recipe()
    assert (recipe.optimiser.learning_rate, recipe.optimiser.decay) == (None, 1.0)
    same = checked(Options, {"preset": "keras", "optimizer": "sgd"}).recipe()
    assert (same.optimiser.learning_rate, same.optimiser.decay) == (100.0, 0.96)


def test_an_array_as_initial_picture_is_an_option_too():
    assert checked(Options, {"init": np.zeros((20, 20, 3), np.uint8)}).recipe().init == "content"


def test_every_function_that_the_page_names_is_there_for_dir_and_import():
    page = (FOLDER / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: stylogram\.(?:tasks|batching|result|driver)\S*\.(\w+)$", page, re.MULTILINE))
    assert {"dream", "compare", "batch", "Result", "Diverged"} <= named
    found: dict[str, object] = {}
    exec("from stylogram import *", found)
    assert named <= found.keys() & {*dir(stylogram)}
