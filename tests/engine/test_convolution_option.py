"""--convolution reaches every session that a task opens, and what cannot be is said first."""

import numpy as np
import pytest
import stylogram
from engine.classes import classifier
from stylogram import Error, pictures
from stylogram.cli import main

from engine import nets

COUNTS, WIDTHS = (1, 1, 1), (6, 8, 10)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pics").mkdir()
    for seed in range(3):
        pictures.write(tmp_path / "pics" / f"{seed}.png", nets.blocks(32, 32, seed))
    return tmp_path


def narrow():
    return nets.narrow(nets.weights(COUNTS, WIDTHS), COUNTS)


IMAGE = nets.blocks(32, 32, 0)
WHOLE = {"layer": "conv3_1", "size": 32}
TASKS = {
    "texture": lambda _, how: stylogram.texture(IMAGE, network=narrow(), size="32", iterations=1, **how),
    "reconstruct": lambda _, how: stylogram.reconstruct(IMAGE, network=narrow(), iterations=1, **WHOLE, **how),
    "pixels": lambda _, how: stylogram.reconstruct(
        IMAGE, network=narrow(), iterations=1, preset="pixels", **WHOLE, **how
    ),
    "grid": lambda _, how: stylogram.reconstruct(IMAGE, network=narrow(), grid=True, iterations=1, size=32, **how),
    "dream": lambda _, how: stylogram.dream(
        IMAGE, network=narrow(), guide=IMAGE, octaves=1, iterations=1, **WHOLE, **how
    ),
    "maximize": lambda _, how: stylogram.maximize(network=narrow(), unit=0, iterations=1, **WHOLE, **how),
    "saliency": lambda _, how: stylogram.saliency(IMAGE, network=classifier(), size=32, **how),
    "occlusion": lambda _, how: stylogram.occlusion(IMAGE, network=classifier(), size=32, stride=16, **how),
    "deconvnet": lambda here, how: stylogram.deconvnet(
        here / "pics", output=here / "out", network=narrow(), **WHOLE, **how
    ),
    "compare": lambda here, how: stylogram.compare(
        [narrow(), narrow()], pictures=here / "pics", output=here / "out", size=32, unit=0, **how
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_it_reaches_every_session(task, folder, monkeypatch):
    """Whatever is opened without it goes by the environment, which is bad here."""
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "nonsense")
    TASKS[task](folder, {"convolution": "direct"})
    with pytest.raises(Error, match=r"unknown convolution 'nonsense'"):
        TASKS[task](folder, {})


def test_both_kinds_find_the_same_maxima(folder):
    found = {}
    for kind in ("direct", "winograd"):
        stylogram.deconvnet(folder / "pics", output=folder / kind, network=narrow(), convolution=kind, **WHOLE)
        with np.load(folder / kind / "state.npz") as state:
            found[kind] = dict(state)
    assert np.array_equal(found["direct"]["0:numbers"], found["winograd"]["0:numbers"])
    np.testing.assert_allclose(found["direct"]["0:values"], found["winograd"]["0:values"], rtol=1e-5, atol=1e-5)
    with pytest.raises(Error, match="convolution"):
        stylogram.deconvnet(
            folder / "pics", output=folder / "direct", network=narrow(), convolution="winograd", **WHOLE
        )


def test_an_unknown_kind_is_refused_in_one_line(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["dream", "pics/0.png", "-o", "out.png", "--convolution", "fft"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert all(kind in said for kind in ("fft", "auto", "direct", "winograd"))
    assert said.count("\n") == 1
