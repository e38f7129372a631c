"""The training set: drawn once by a seed, kept as arrays on disk, made again when it is not there.

python -m stylogram_training.dataset DIRECTORY [--scenes 24000] [--classes 1000] [--draws 8] [--workers 2] [--seed 0]
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from . import pictures
from .scenes import STRIDE, Piece, scene

SIDE = 128
BANK_SIDE = 160
PART = 250  # scenes a task


def bank(names: list[str], draws: int, seed: int, index: int) -> NDArray[np.uint8]:
    """`draws` pieces (draws,BANK_SIDE,BANK_SIDE,3) of one texture."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, 1, index])
    made = np.stack([pictures.texture(names[index], rng, BANK_SIDE) for _ in range(draws)])
    return np.asarray((np.clip(made, 0, 1) * 255).round(), np.uint8)


def pieces(rng: np.random.Generator, textures: NDArray[np.uint8], side: int) -> Piece:
    """Random crops of random pieces, enlarged by up to 1.25 or reduced to 0.85, turned over at times."""

    def piece() -> tuple[int, pictures.Picture]:
        index = int(rng.integers(len(textures)))
        whole = textures[index, rng.integers(textures.shape[1])]
        cut = round(side / rng.uniform(0.85, 1.25))
        y, x = rng.integers(0, BANK_SIDE - cut + 1, 2)
        found = cv2.resize(whole[y : y + cut, x : x + cut], (side, side), interpolation=cv2.INTER_LINEAR)
        found = found[:, ::-1] if rng.random() < 0.5 else found
        return index, found.astype(np.float32) / 255

    return piece


def part(textures_file: Path, seed: int, count: int, index: int) -> dict[str, NDArray[np.generic]]:
    """So many scenes, as arrays by the name of their field."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, 2, index])
    textures = np.load(textures_file, mmap_mode="r")
    made = [scene(rng, pieces(rng, textures, SIDE), SIDE) for _ in range(count)]
    return {
        "picture": np.stack([(one.picture * 255).round().astype(np.uint8) for one in made]),
        "texture": np.stack([one.texture for one in made]),
        "shape": np.stack([one.shape for one in made]),
        "edge": np.stack([one.edge for one in made]),
        "direction": np.stack([(one.direction * 127).round().astype(np.int8) for one in made]),
    }


SHAPES = {
    "picture": ((SIDE, SIDE, 3), np.uint8),
    "texture": ((SIDE // STRIDE,) * 2, np.int16),
    "shape": ((SIDE // STRIDE,) * 2, np.uint8),
    "edge": ((SIDE // 2,) * 2, np.uint8),
    "direction": ((2, SIDE // STRIDE, SIDE // STRIDE), np.int8),
}


def make(directory: Path, scenes: int, classes: int, draws: int, workers: int, seed: int) -> None:
    """Draw everything; `dataset.json` is written last and says that it is whole."""
    directory.mkdir(parents=True, exist_ok=True)
    names = pictures.class_names(classes)
    # Not forked: OpenCV's and ONNX Runtime's threads do not come along, and whoever waits for one waits for ever.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        file = directory / "textures.npy"
        found = pool.map(partial(bank, names, draws, seed), range(classes), chunksize=4)
        _fill(file, (classes, draws, BANK_SIDE, BANK_SIDE, 3), np.uint8, ([one] for one in found))
        into = {
            name: np.lib.format.open_memmap(directory / f"{name}.npy", "w+", dtype, (scenes, *shape))
            for name, (shape, dtype) in SHAPES.items()
        }
        for index, arrays in enumerate(pool.map(partial(part, file, seed, PART), range(scenes // PART))):
            for name, array in arrays.items():
                into[name][index * PART : (index + 1) * PART] = array
    facts = {"scenes": scenes // PART * PART, "classes": names, "draws": draws, "seed": seed}
    (directory / "dataset.json").write_text(json.dumps(facts))


def _fill(file: Path, shape: tuple[int, ...], dtype: type, blocks: Iterator[list[NDArray[np.uint8]]]) -> None:
    into = np.lib.format.open_memmap(file, "w+", dtype, shape)
    for index, block in enumerate(blocks):
        into[index] = block[0]
    into.flush()


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("directory", type=Path)
    ask.add_argument("--scenes", type=int, default=24000)
    ask.add_argument("--classes", type=int, default=1000)
    ask.add_argument("--draws", type=int, default=8)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--seed", type=int, default=0)
    make(**vars(ask.parse_args()))


if __name__ == "__main__":
    main()
