"""Tiles against the whole picture: seconds an iteration and peak memory of VGG-19 to conv5_1, and what fits at all.

    python -m stylogram_bench.tiled [--sizes 512x512,1024x1024] [--tiles 256,512] [--rounds N] [-o FILE.json]
    python -m stylogram_bench.tiled --alone 4096x3072 --tile 1024 [--iterations N] [--network NAME] [--history N]
        [--history-precision float16] [--scratch DIR]

Without --alone tiled and untiled iterations go by turns in one process, and the ratios are those of neighbours; peak
memory is that of a process of its own for each. With it one picture is made in tiles alone. Sizes are width x height,
and as in stylogram_bench.compare weights are random and losses the same.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from stylogram import pictures
from stylogram.driver import Stage
from stylogram.session import give_back, kernel_threads
from stylogram.tasks.stylize import Options, Stylization
from stylogram_export.models import vgg
from stylogram_export.network import Network, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from .batch import others
from .compare import STAGES, Array, picture, seconds_of, spread, weights, write

Size = tuple[int, int]  # width, height
LARGEST = 2048


def stage(size: Size, tile: int | str | None, threads: int = 0, **options: Any) -> Stage:
    """One scale of a picture; its network is read from a file, as users have it."""
    side = max(size)
    content = picture(min(side, LARGEST), 1)  # a larger one is smooth: making it would be what takes memory
    content = content if side <= LARGEST else pictures.resized(content, (side, side))
    content = content[: size[1], : size[0]]
    style = picture(min(side, 1024), 2)
    chosen: dict[str, Any] = {
        "content_weight": 1.0,
        "style_weight": 1.0,
        "tv_weight": 1.0,
        "scales": 1,
        "size": side,
        "history": 10,
    }
    if style.shape[0] < side:
        options["style_scale"] = style.shape[0] / side
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"network": Path(folder) / "vgg19.onnx", **chosen, **options}
        if "network" not in options:
            _save_vgg(chosen["network"])
        given = Options(tile=tile, threads=threads, **chosen)
        made = Stylization(content, [style], given).stage(0, None)
    give_back()
    return made


def _save_vgg(path: Path) -> None:
    model = prepare(vgg.graph("vgg19", STAGES, 4, weights(), "max"))
    save(Network("vgg19", model, PREPROCESS["imagenet"], vgg.layers(STAGES, 4)), path)


def iteration(made: Stage) -> None:
    """One, as the driver does it."""
    objective = made.objective
    made.optimiser.step(objective.picture, objective.gradient, objective.total)
    objective.evaluate()


def alone(size: Size, tile: int | str | None, iterations: int, threads: int, **options: Any) -> dict[str, Any]:
    """Seconds and resident MiB of this process: the peak, and at the end what is its own and what lies in files."""
    started = time.perf_counter()
    with kernel_threads(threads):
        made = stage(size, tile, threads, **options)
        prepared = time.perf_counter() - started
        made.objective.evaluate()
        losses, times = [float(made.objective.total[0])], []
        for _ in range(iterations):
            times.append(seconds_of(partial(iteration, made)))
            losses.append(float(made.objective.total[0]))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, own, files = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon", "RssFile"))
    plan = getattr(getattr(made.objective, "network", None), "plan", None)
    tiles = {"tiles": 1, "tile_pixels": None} if plan is None else {"tiles": len(plan.tiles), "tile_pixels": plan.size}
    shown = {
        "size": size,
        "tile": tile,
        **tiles,
        "options": options,
        "seconds_before": prepared,
        "seconds": times,
        "losses": losses,
    }
    resident = {"peak_mebibytes": peak, "own_mebibytes": own, "file_mebibytes": files}
    return {**shown, "split_seconds": dict(made.objective.seconds), **resident}


def in_a_process(size: Size, tile: int | str | None, iterations: int, threads: int, **options: Any) -> dict[str, Any]:
    """`alone` in a process of its own."""
    call = f"tiled.alone({size!r}, {tile!r}, {iterations}, {threads}, **{options!r})"
    code = f"import json; from stylogram_bench import tiled; print(json.dumps({call}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def compared(size: Size, tiles: list[int], rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row for the whole picture and for each side of a tile's core."""
    sides: list[int | None] = [None, *tiles]
    with kernel_threads(threads):
        runners = {side: stage(size, side, threads) for side in sides}
        for made in runners.values():
            made.objective.evaluate()
        whole = runners[None].objective
        errors = {side: _error(whole.gradient, made.objective.gradient) for side, made in runners.items()}
        for made in runners.values():
            iteration(made)
        times: dict[int | None, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, made in runners.items():
                times[side].append(seconds_of(partial(iteration, made)))
    del runners, whole
    give_back()
    rows = []
    for side in sides:
        memory = in_a_process(size, side, 2, threads)
        ratios = [own / base for own, base in zip(times[side], times[None], strict=True)]
        row = {"size": size, "tile": side, "tiles": memory["tiles"], "tile_pixels": memory["tile_pixels"]}
        row |= {"seconds": times[side], "median_seconds": statistics.median(times[side]), "ratio": spread(ratios)}
        rows.append({**row, "peak_mebibytes": memory["peak_mebibytes"], "first_gradient_error": errors[side]})
        print({name: value for name, value in rows[-1].items() if name != "seconds"})
    return rows


def _error(whole: Array, tiled: Array) -> float:
    return float(np.linalg.norm(tiled - whole) / np.linalg.norm(whole))


def _sizes(given: str) -> list[Size]:
    return [(int(width), int(height)) for width, height in (one.split("x") for one in given.split(","))]


@click.command()
@click.option("--sizes", default="512x512,1024x1024")
@click.option("--tiles", default="256,512")
@click.option("--rounds", default=3)
@click.option("--threads", default=2)
@click.option("--alone", "single", metavar="WIDTHxHEIGHT")
@click.option("--tile", default="auto")
@click.option("--iterations", default=2)
@click.option("--network", metavar="NAME", help="in place of VGG-19, with --alone")
@click.option("--history", type=int)
@click.option("--history-precision")
@click.option("--scratch", metavar="DIR")
@click.option("-o", "--output")
def main(
    sizes: str,
    tiles: str,
    rounds: int,
    threads: int,
    single: str | None,
    tile: str,
    iterations: int,
    network: str | None,
    output: str | None,
    **given: Any,
) -> None:
    """Measure tiles against whole pictures, or one large picture alone."""
    before, started = others(), time.perf_counter()
    record: dict[str, Any] = {"network": network or "VGG-19 to conv5_1, random weights", "threads": threads}
    if single:
        side = int(tile) if tile.isdecimal() else tile
        given["network"] = network
        options = {name: value for name, value in given.items() if value is not None}
        record |= in_a_process(_sizes(single)[0], side, iterations, threads, **options)
    else:
        sides = [int(one) for one in tiles.split(",")]
        record["rows"] = [row for size in _sizes(sizes) for row in compared(size, sides, rounds, threads)]
    # Processors' worth of other work meanwhile: seconds mean little beside much of it, memory is the same.
    record["others"] = (others() - before) / (time.perf_counter() - started)
    print(json.dumps(record))
    if output:
        write(Path(output), record)


if __name__ == "__main__":
    main()
