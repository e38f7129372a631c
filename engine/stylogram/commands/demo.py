"""stylogram demo: a photograph, a painting that our own script draws, and the one in the style of the other."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from .. import pictures
from ..cli import not_empty
from ..driver import Callback
from ..errors import Error
from ..files import atomic
from ..monitor import Monitor
from ..paint import painting
from ..result import Result
from ..tasks.stylize import stylize

PICTURES = ("content.png", "style.png", "result.png")
RECORD = ".stylogram-demo"  # the SHA-256 of the pictures that the demo wrote, as sha256sum writes them


@click.command(name="demo")
@click.option(
    "-o", "--output", callback=not_empty, default="demo", metavar="DIR", help="where the pictures are written [demo]"
)
@click.option("--size", type=click.IntRange(64), default=384, metavar="PIXELS", help="long side of the picture [384]")
@click.option("--iterations", type=click.IntRange(1), default=150, metavar="N", help="iterations [150]")
@click.option("--quiet", is_flag=True, help="print nothing but errors")
def command(output: str, size: int, iterations: int, quiet: bool) -> None:
    """Stylise a photograph with the default network, which needs no download: content.png, style.png, result.png."""
    folder = Path(output)
    photo = _photograph()
    with _own(folder):
        monitor = Monitor(str(folder / "result.png"), None, None, 0, quiet)
        paint = painting()
        pictures.write(folder / "content.png", photo / np.float32(255))
        pictures.write(folder / "style.png", paint / np.float32(255))

        def run(callback: Callback) -> Result:
            return stylize(photo, paint, size=size, iterations=iterations, callback=callback)

        monitor.run(run)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Make the folder, or refuse one where a picture of the demo's names is not the demo's; record what it wrote."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = (folder / RECORD).read_text(encoding="utf-8").splitlines() if (folder / RECORD).exists() else []
        foreign = [name for name, line in _lines(folder).items() if line not in lines]
    except OSError as error:
        raise Error(f"{folder}: not a directory that can be made or written: {error.strerror}") from error
    if foreign:
        names = ", ".join(str(folder / name) for name in foreign)
        raise Error(f"{names}: there already, and not made by the demo; another folder is accepted (-o DIR)")
    try:
        yield
    finally:
        with atomic(folder / RECORD, "w") as file:
            file.writelines(f"{line}\n" for line in _lines(folder).values())


def _lines(folder: Path) -> dict[str, str]:
    """The line of the record for each picture that is there."""
    there = [name for name in PICTURES if (folder / name).exists()]
    return {name: f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in there}


def _photograph() -> NDArray[np.uint8]:
    try:
        from skimage import data
    except ImportError:
        raise Error("the demo needs scikit-image for its photograph: pip install 'stylogram[demo]'") from None
    photograph: NDArray[np.uint8] = np.asarray(data.coffee())  # type: ignore[no-untyped-call]
    return photograph
