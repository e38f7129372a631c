"""How fast is the pass over the pictures? Reading, forward and maxima against ONNX Runtime's forward alone.

    python -m stylogram_bench.deconvnet NETWORK [--preprocess NAME] [--layer L] [--pictures N] [-o FILE.json]

The folder holds N JPEG files of 500x375 and about 110 kB, 4:2:0: ImageNet's usual size, and its mean. Plain ONNX
Runtime runs the same graph, cut at the same layer, at the same batch, on pictures that are in memory already, on all
processors; ours goes through as the task has it, with the convolutions that STYLOGRAM_CONVOLUTION says. The machine's
speed drifts: the two go by turns, one round of the folder each, and the figure is the median of the rounds' ratios. On
a machine that does something else besides it says nothing: plain ONNX Runtime waits for the slower half of every
operator, which batches side by side do not. Projections are timed beside it.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from stylogram import pictures, zoo
from stylogram.folder import Folder
from stylogram.maxima import LayerPass, Top, scanned, side_by_side
from stylogram.project import Kept, Projector
from stylogram.session import available_threads, flushing, open_session, uses_winograd
from stylogram_export.network import Network, folded
from stylogram_export.specialise import specialise

from .compare import picture, spread, write


def folder_of(where: Path, count: int) -> Folder:
    """`count` JPEG files of 500x375: crops of one large picture with structure at every scale."""
    large = pictures.to_uint8(picture(1024, 1))
    rng = np.random.default_rng(0)
    for number in range(count):
        top, left = rng.integers(0, 1024 - 375), rng.integers(0, 1024 - 500)
        crop = np.ascontiguousarray(large[top : top + 375, left : left + 500, ::-1])
        cv2.imwrite(str(where / f"{number:05d}.jpg"), crop, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return Folder.scan(where)


def ours(folder: Folder, network: LayerPass, layer: str, batch: int, top: Top, workers: int) -> float:
    """Seconds of a pass over the folder as the task makes it: read, scaled, forward, the maxima kept."""
    started = time.perf_counter()
    for found in scanned(folder, network, batch, 0, workers):
        values, places = found.peaks[layer]
        top.add(values, places, found.numbers)
    return time.perf_counter() - started


class Plain:
    """ONNX Runtime and nothing else."""

    def __init__(self, network: Network, tensor: str, size: int, batch: int, threads: int) -> None:
        model = specialise(folded(network, [tensor]), (batch, 3, size, size))
        self._session, self._source = open_session(model, threads), model.graph.input[0].name
        self._pictures = np.random.default_rng(0).random((batch, 3, size, size), np.float32)

    def seconds(self, count: int) -> float:
        """Of so many batches."""
        started = time.perf_counter()
        with flushing():
            for _ in range(count):
                self._session.run(None, {self._source: self._pictures})
        return time.perf_counter() - started


def projections(network: Network, tensor: str, top: Top, folder: Folder, size: int, batch: int) -> float:
    """Seconds for each projection, of the strongest picture of 64 units."""
    projector = Projector(network, tensor, size, "deconvnet", batch)
    units = [unit for unit in range(len(top.values)) if top.positive(unit)][:64]
    looked = [
        (
            folder.squares(int(top.numbers[unit, 0]), [size])[size][None],
            [Kept(unit, unit, int(top.places[unit, 0]), 1.0)],
        )
        for unit in units
    ]
    started = time.perf_counter()
    made = sum(1 for _ in projector.run(looked))
    return (time.perf_counter() - started) / made


def measured(network: Network, layer: str, folder: Folder, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Pictures a second of both, round by round."""
    threads, tensor = available_threads(), network.layers.tensor(layer)
    workers, each = side_by_side(threads)
    passing = LayerPass(network, {layer: tensor}, (1, 3, size, size), each)
    plain = Plain(network, tensor, size, batch, threads)
    count = len(folder.names)
    whole = -(-count // batch)
    plain.seconds(2)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    top = Top.empty(passing.shapes[layer][0], 9)
    for _ in range(rounds):
        top = Top.empty(len(top.values), 9)
        rates["plain"].append(whole * batch / plain.seconds(whole))
        rates["ours"].append(count / ours(folder, passing, layer, batch, top, workers))
    ratios = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
    return {
        "layer": layer,
        "convolution": "winograd" if uses_winograd() else "direct",
        "pictures_a_second": {name: statistics.median(values) for name, values in rates.items()},
        "rounds": rates,
        "ratio": spread(ratios),
        "seconds_a_projection": projections(network, tensor, top, folder, size, batch),
    }


@click.command()
@click.argument("network")
@click.option("--preprocess")
@click.option("--layer", default="fire9")
@click.option("--pictures", "count", default=1000)
@click.option("--size", default=227)
@click.option("--batch", default=8)
@click.option("--rounds", default=3)
@click.option("-o", "--output")
def main(
    network: str,
    preprocess: str | None,
    layer: str,
    count: int,
    size: int,
    batch: int,
    rounds: int,
    output: str | None,
) -> None:
    """Measure the pass over the pictures for each of the LAYERs, joined by commas."""
    chosen = zoo.resolve(network, preprocess)
    with tempfile.TemporaryDirectory() as where:
        folder = folder_of(Path(where), count)
        rows = [measured(chosen, name, folder, size, batch, rounds) for name in layer.split(",")]
    for row in rows:
        print({name: value for name, value in row.items() if name != "rounds"})
    if output:
        shown = {"network": Path(network).name, "pictures": count, "size": size, "batch": batch}
        write(Path(output), {**shown, "rows": rows})


if __name__ == "__main__":
    main()
