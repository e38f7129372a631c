"""The examples do what they say, as scripts that somebody has copied elsewhere."""

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stylogram
from stylogram import pictures
from stylogram_export.network import save

from engine import nets

EXAMPLES = Path(__file__).parents[1] / "examples"
FAST = ["--network", "net.onnx", "--size", "64", "--iterations"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the scripts, a content, a red and a blue style and a narrow network."""
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    pictures.write(tmp_path / "content.png", nets.blocks(48, 64, 1))
    pictures.write(tmp_path / "red.png", nets.blocks(40, 48, 2, cell=2, tint=(1, 0.1, 0.1)))
    pictures.write(tmp_path / "blue.png", nets.blocks(48, 40, 3, cell=2, tint=(0.1, 0.1, 1)))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"stylize.py"}


def test_several_styles_with_previews(here: Path) -> None:
    done = run("stylize.py", "content.png", "red.png", "blue.png", "-o", "out.png", *FAST, "52")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["scale 1/1, 0", "scale 1/1, 50", "out.png"]
    assert float(lines[1].split()[-1]) < 0.9 * float(lines[0].split()[-1])
    out, preview = (pictures.read(here / name).rgb for name in ("out.png", "out-preview.png"))
    assert out.shape == preview.shape == (48, 64, 3)
    assert 0 < np.abs(out - preview).max() < 0.5


def test_a_style_above_the_horizon_and_another_below(here: Path) -> None:
    """As stylize paints it with masks that are built here: white, then a ramp of a tenth of the height, then black."""
    done = run("stylize.py", "content.png", "red.png", "blue.png", "-o", "out.png", "--horizon", "0.25", *FAST, "3")
    assert (done.returncode, done.stderr) == (0, "")
    above = np.zeros((48, 64))
    above[:10] = 1
    above[10:14] = ((13.9 - np.arange(10, 14)) / 4.8)[:, None]  # 12 ± 2.4, at the middle of each row
    masks = [(above, np.ones((40, 48))), (1 - above, np.ones((48, 40)))]
    options = {"network": "net.onnx", "size": 64, "iterations": 3}
    wanted = stylogram.stylize("content.png", ["red.png", "blue.png"], mask=masks, **options).exact
    np.testing.assert_allclose(pictures.read(here / "out.png").rgb, wanted, atol=0.6 / 255)
    swapped = stylogram.stylize("content.png", ["red.png", "blue.png"], mask=masks[::-1], **options).exact
    assert np.abs(swapped - wanted).max() > 0.02


def test_bad_input_is_one_line(here: Path) -> None:
    done = run("stylize.py", "content.png", "missing.png", "-o", "out.png", *FAST, "1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no file missing.png")
    assert done.stderr.count("\n") == 1
    assert not (here / "out.png").exists()
    done = run("stylize.py", "content.png", "red.png", "-o", "no/such/out.png", *FAST, "1")
    assert done.returncode == 2
    assert "no/such" in done.stderr.splitlines()[0]
    done = run("stylize.py", "content.png", "red.png", "-o", "out.png", "--horizon", "0.5", *FAST, "1")
    assert done.returncode == 2
    assert "--horizon needs two styles, got 1" in done.stderr


def test_the_notebook_runs_and_shows_pictures(tmp_path: Path) -> None:
    """Every cell, with a few iterations each; a result shows itself as PNG."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    for cell in book.cells:
        cell.source = re.sub(r"iterations=\d+", "iterations=2", cell.source.replace("size=256", "size=64"))
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"] for cell in book.cells for output in cell.get("outputs", []) if "data" in output]
    pictures_shown = [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]
    assert [pictures.decode(picture).rgb.shape for picture in pictures_shown] == [
        (43, 64, 3), (43, 64, 3), (128, 256, 3), (96, 96, 3),
    ]  # fmt: skip
