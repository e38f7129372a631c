"""Batches against one picture at a time: pictures an hour, from files to files, in one process.

    python -m stylogram_bench.batch [--network NAME] [--size PIXELS] [--pictures N] [--iterations A,B] [-o FILE.json]

One at a time is a call of stylogram.stylize and a save for each picture, as a script would do it. A batch of 1 keeps
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
from pathlib import Path
from typing import Any

import click
import stylogram
from stylogram import pictures
from stylogram.session import available_threads

from .compare import picture, spread, write

STYLES = 4
USUAL = 300  # iterations of a user's run
OTHERS = 0.05  # processors' worth of other work


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


def seconds(jobs: list[dict[str, str]], batch: int | None, options: dict[str, Any]) -> float:
    """Of all jobs; `batch` None is one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if batch is None:
            one_at_a_time(jobs, Path(folder), options)
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
    own = os.times()
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - own.user - own.system


def measured(
    jobs: list[dict[str, str]], batches: list[int], iterations: tuple[int, int], options: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    """A row for each size of a batch, by turns with one at a time."""
    sizes: list[int | None] = [None, *batches]
    times: dict[int | None, dict[int, list[float]]] = {size: {count: [] for count in iterations} for size in sizes}
    for size in sizes:
        seconds(jobs[: size or 1], size, {**options, "iterations": 1})
    for _ in range(rounds):
        for count in iterations:
            for size in sizes:
                times[size][count].append(seconds(jobs, size, {**options, "iterations": count}))
    return [_row(times[None], times[size], size, iterations, len(jobs)) for size in sizes]


def _row(
    single: dict[int, list[float]],
    own: dict[int, list[float]],
    size: int | None,
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
    before, started = others(), time.perf_counter()
    options = {"network": network, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        jobs = rows(Path(folder), count, size)
        table = measured(jobs, [int(one) for one in batches.split(",")], (few, many), options, rounds)
    for row in table:
        print(row)
    share = (others() - before) / (time.perf_counter() - started)
    print(f"other work: {share:.3f} processors")
    if output and not share <= OTHERS:
        raise click.ClickException(
            f"{output} is not written: other work took {share:.2f} processors; accepted: up to {OTHERS}"
        )
    if output:
        shown = {
            "network": Path(network).name,
            "size": size,
            "pictures": count,
            "threads": available_threads(),
            "others": share,
        }
        write(Path(output), {**shown, "rows": table})


if __name__ == "__main__":
    main()
