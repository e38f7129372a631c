"""Batches against one picture at a time: pictures an hour, from files to files, in one process.

    python -m stylogram_bench.batch [--network NAME] [--size PIXELS] [--pictures N] [--iterations A,B] [-o FILE.json]

One at a time is a call of stylogram.stylize and a save for each picture, as a script would do it; where PyTorch is
installed, it does the same with the same losses (its L-BFGS has no preconditioning). A batch of 1 keeps
sessions and style targets, and reads and writes beside the work; larger ones are optimised together. All go by turns.
Two numbers of iterations, A less than B, tell what an iteration costs from what a picture costs at once: the ratio at
300 iterations, what a user runs, is computed from the two and is named so. Other work on the machine slows one picture
on several threads more than several pictures on one thread each: what others take of it is measured too, and with more
than OTHERS nothing is written.
"""

import os
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import stylogram
from stylogram import pictures
from stylogram.errors import Error
from stylogram.session import available_threads

from .compare import picture, spread, write

STYLES = 4
USUAL = 300  # iterations of a user's run
OTHERS = 0.05  # processors' worth of other work
Way = int | str | None  # pictures together, "pytorch", or one at a time


def rows(where: Path, count: int, size: int) -> list[dict[str, str]]:
    """`count` jobs: contents of their own, STYLES styles by turns, all files."""
    for number in range(STYLES):
        pictures.write(where / f"style{number}.png", picture(size, 1000 + number))
    for number in range(count):
        pictures.write(where / f"content{number}.png", picture(size, number))
    return [
        {
            "content": str(where / f"content{number}.png"),
            "style": str(where / f"style{number % STYLES}.png"),
            "output": f"{number}.png",
        }
        for number in range(count)
    ]


def one_at_a_time(jobs: list[dict[str, str]], output: Path, options: dict[str, Any]) -> None:
    """As a script without batches would."""
    for job in jobs:
        stylogram.stylize(job["content"], job["style"], **options).save(output / job["output"])


def pytorch(jobs: list[dict[str, str]], output: Path, options: dict[str, Any]) -> None:
    """One at a time, too."""
    from .convergence import Case

    threads = available_threads()
    for job in jobs:
        case = Case(Path(job["content"]), Path(job["style"]), options["network"], None, options["size"], threads)
        runner = case.theirs()
        runner.run(options["iterations"])
        made = runner.picture.detach().numpy()
        pictures.write(output / job["output"], np.clip(pictures.from_batch(made), 0, 1))


def seconds(jobs: list[dict[str, str]], batch: Way, options: dict[str, Any]) -> float:
    """Of all jobs; `batch` None is one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if batch is None:
            one_at_a_time(jobs, Path(folder), options)
        elif isinstance(batch, str):
            pytorch(jobs, Path(folder), options)
        else:
            made = stylogram.batch(jobs, output=folder, batch=batch, **options)
            assert made.done == len(jobs), made.failures
        return time.perf_counter() - started


def others() -> float:
    """Seconds of processor time that other processes have had since the machine started; NaN where nobody says."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])  # this process, and its children that have ended


def measured(
    jobs: list[dict[str, str]], batches: list[int], iterations: tuple[int, int], options: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    """A row for each size of a batch, by turns with one at a time and PyTorch."""
    sizes: list[Way] = [None, *(["pytorch"] if find_spec("torch") else []), *batches]
    times: dict[Way, dict[int, list[float]]] = {size: {count: [] for count in iterations} for size in sizes}
    for size in sizes:
        few = size if isinstance(size, int) else 1
        seconds(jobs[:few], size, {**options, "iterations": 1})
    for _ in range(rounds):
        for count in iterations:
            for size in sizes:
                times[size][count].append(seconds(jobs, size, {**options, "iterations": count}))
    return [_row(times[None], times[size], size, iterations, len(jobs)) for size in sizes]


def _row(
    single: dict[int, list[float]],
    own: dict[int, list[float]],
    size: Way,
    iterations: tuple[int, int],
    jobs: int,
) -> dict[str, Any]:
    few, many = iterations
    return {
        "batch": size,
        "seconds": own,
        "pictures_an_hour": 3600 * jobs / statistics.median(own[many]),
        "ratio": {
            count: spread([a / b for a, b in zip(single[count], own[count], strict=True)]) for count in iterations
        },
        "seconds_an_iteration": _slope(own, iterations) / jobs,
        "seconds_a_picture_at_once": (statistics.median(own[few]) - few * _slope(own, iterations)) / jobs,
        f"computed_ratio_at_{USUAL}": _at(single, iterations) / _at(own, iterations),
    }


def _slope(times: dict[int, list[float]], iterations: tuple[int, int]) -> float:
    few, many = iterations
    return (statistics.median(times[many]) - statistics.median(times[few])) / (many - few)


def _at(times: dict[int, list[float]], iterations: tuple[int, int]) -> float:
    few, _ = iterations
    return statistics.median(times[few]) + (USUAL - few) * _slope(times, iterations)


def measure(
    network: str, size: int, count: int, iterations: tuple[int, int], batches: list[int], rounds: int
) -> dict[str, Any]:
    """The record. Raises Error where other work took more than OTHERS."""
    before, started = others(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        jobs = rows(Path(folder), count, size)
        table = measured(jobs, batches, iterations, {"network": network, "size": size}, rounds)
    share = (others() - before) / (time.perf_counter() - started)
    if share > OTHERS:
        raise Error(f"batch: other work took {share:.2f} processors; accepted: up to {OTHERS}, nothing is written")
    shown = {"network": Path(network).name, "size": size, "pictures": count, "threads": available_threads()}
    return {**shown, "others": share, "rows": table}


@click.command()
@click.option("--network", default="seednet")
@click.option("--size", default=256)
@click.option("--pictures", "count", default=16)
@click.option("--iterations", default="5,25", metavar="A,B")
@click.option("--batches", default="1,4,16")
@click.option("--rounds", default=1)
@click.option("-o", "--output")
def main(network: str, size: int, count: int, iterations: str, batches: str, rounds: int, output: str | None) -> None:
    """Measure batches of several sizes."""
    few, many = map(int, iterations.split(","))
    record = measure(network, size, count, (few, many), [int(one) for one in batches.split(",")], rounds)
    for row in record["rows"]:
        print(row)
    if output:
        write(Path(output), record)


if __name__ == "__main__":
    main()
