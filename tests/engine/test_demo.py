"""The demo: three pictures, made again as often as one likes, and nobody else's overwritten."""

import pytest
from stylogram import pictures
from stylogram.cli import main

from engine import nets

FAST = ["--size", "64", "--iterations", "1", "--quiet"]
NAMES = ["content.png", "result.png", "style.png"]


@pytest.fixture(autouse=True)
def _photograph(monkeypatch):
    """A small one: the demo's own is scikit-image's."""
    small = (nets.blocks(64, 80, 1) * 255).astype("u1")
    monkeypatch.setattr("stylogram.commands.demo._photograph", lambda: small)
    monkeypatch.setattr("stylogram.commands.demo.painting", lambda: small[::-1])


def demo(folder, *more):
    return main(["demo", "-o", str(folder), *FAST, *more])


def test_it_makes_its_pictures_and_makes_them_again(tmp_path):
    for size in ("64", "72"):
        assert demo(tmp_path / "new" / "demo", "--size", size) == 0
        assert pictures.read(tmp_path / "new" / "demo" / "result.png").rgb.shape[1] == int(size)
    assert sorted(path.name for path in (tmp_path / "new" / "demo").glob("*.png")) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", [False, True], ids=["at first", "over its own"])
def test_a_picture_that_is_not_its_own_is_left_alone(tmp_path, capsys, name, before):
    if before:
        assert demo(tmp_path) == 0
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()} | {name: b"precious"}
    (tmp_path / name).write_bytes(b"precious")
    assert demo(tmp_path) == 2
    line = capsys.readouterr().err
    assert (
        line
        == f"error: {tmp_path / name}: there already, and not made by the demo; another folder is accepted (-o DIR)\n"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == there


def test_what_a_run_that_was_interrupted_wrote_is_its_own_too(tmp_path, capsys, monkeypatch):
    def press(self, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("stylogram.monitor.Monitor._look", press)
        assert demo(tmp_path) == 130
    assert (tmp_path / "content.png").exists()
    assert demo(tmp_path) == 0


def test_a_folder_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert demo(tmp_path / "file") == 2
    assert "not a directory that can be made or written" in capsys.readouterr().err
