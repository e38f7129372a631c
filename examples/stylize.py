"""Paint a photograph in the style of one or several pictures from Python, and watch it happen.

    python examples/stylize.py photo.jpg painting.jpg another.jpg -o out.png
    python examples/stylize.py photo.jpg sky.jpg land.jpg -o out.png --horizon 0.4

The second paints the upper part in the style of the first picture and the lower part in that of the second one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import stylogram
from stylogram import pictures


def paint(given: argparse.Namespace) -> stylogram.Result:
    """Stylise what the command line names, with a preview every 50 iterations."""

    def watch(progress: stylogram.Progress) -> None:
        """Called after every iteration. To stop early with what there is, raise KeyboardInterrupt."""
        if progress.iteration % 50 == 0:
            print(f"scale {progress.scale}/{progress.scales}, {progress.iteration}: loss {progress.loss:.4g}")
            progress.result().save(given.output.with_stem(f"{given.output.stem}-preview"))

    network = {} if given.network is None else {"network": given.network, "preprocess": given.preprocess}
    try:
        return stylogram.stylize(
            given.content,  # a path, or an array (H,W,3) RGB: uint8, or float in [0,1]
            given.styles,
            **network,
            size=given.size,
            iterations=given.iterations,
            mask=[] if given.horizon is None else horizon_masks(given),
            callback=watch,
        )
    except stylogram.Interrupted as stopped:  # Ctrl-C
        if stopped.result is None:
            raise
        return stopped.result  # the best picture so far


def horizon_masks(given: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pair of masks (H,W) in [0,1] for each of two styles: where it is painted, and from which part of the style."""
    height, width = pictures.read(given.content).rgb.shape[:2]
    down = (np.arange(height) + 0.5) / height
    sky = np.clip((given.horizon - down) / 0.1 + 0.5, 0, 1)[:, None] * np.ones(width)  # soft over a tenth of the height
    whole = [np.ones(pictures.read(style).rgb.shape[:2]) for style in given.styles]
    return [(sky, whole[0]), (1 - sky, whole[1])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("content", type=Path)
    parser.add_argument("styles", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--network", help="vgg19 (after `stylogram network fetch vgg19`), or a file")
    parser.add_argument("--preprocess", help="imagenet, caffe or unit, where the network's file does not say it")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--horizon", type=float, help="0 to 1: the first style above it, the second below")
    given = parser.parse_args()
    if given.horizon is not None and len(given.styles) != 2:
        parser.error(f"--horizon needs two styles, got {len(given.styles)}")
    try:
        result = paint(given)
        result.save(given.output)  # as an array: result.picture, uint8 (H,W,3)
    except stylogram.Error as error:  # one line: what was got, what is accepted
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in result.notes:
        print(f"note: {note}")
    print(f"{given.output}: loss {result.loss:.4g}, {result.trace[-1]['seconds']:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
