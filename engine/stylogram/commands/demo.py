"""stylogram demo: a photograph, a painting that our own script draws, and the one in the style of the other."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from .. import pictures
from ..driver import Callback
from ..errors import Error
from ..monitor import Monitor
from ..paint import painting
from ..result import Result
from ..tasks.stylize import stylize


@click.command(name="demo")
@click.option("-o", "--output", default="demo", metavar="DIR", help="where the pictures are written [demo]")
@click.option("--size", type=click.IntRange(64), default=384, metavar="PIXELS", help="long side of the picture [384]")
@click.option("--iterations", type=click.IntRange(1), default=150, metavar="N", help="iterations [150]")
@click.option("--quiet", is_flag=True, help="print nothing but errors")
def command(output: str, size: int, iterations: int, quiet: bool) -> None:
    """Stylise a photograph with the network `random`, which needs no download: content.png, style.png, result.png."""
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{folder}: not a directory that can be made or written: {error.strerror}") from error
    photo, paint = _photograph(), painting()
    pictures.write(folder / "content.png", photo / np.float32(255))
    pictures.write(folder / "style.png", paint / np.float32(255))

    def run(callback: Callback) -> Result:
        return stylize(photo, paint, size=size, iterations=iterations, callback=callback)

    Monitor(str(folder / "result.png"), None, None, 0, quiet).run(run)


def _photograph() -> NDArray[np.uint8]:
    try:
        from skimage import data
    except ImportError:
        raise Error("the demo needs scikit-image for its photograph: pip install 'stylogram[demo]'") from None
    photograph: NDArray[np.uint8] = np.asarray(data.coffee())  # type: ignore[no-untyped-call]
    return photograph
