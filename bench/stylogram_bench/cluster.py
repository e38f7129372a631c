"""How throughput grows with workers: batches on one and two workers of a Ray cluster, and without Ray.

    python -m stylogram_bench.cluster [--network NAME] [--size PIXELS] [--pictures N] [--rounds N] [-o FILE.json]

Two nodes of a processor each run on this machine. What is timed begins when the workers are there (how long that takes
is a number of its own) and ends when the last picture and its line are on the disk. What many workers share is the
driver: how long its writer takes for a picture, the disk included, and its processor time bound how many one driver can
keep busy, and are measured too. More than two workers are computed from that, see on_paper(), and named so.
"""

import importlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import click
import stylogram
from stylogram import batching
from stylogram.batching import cluster
from stylogram.batching.crew import Crew, Hand
from stylogram.batching.writer import Ended, Writer

from .batch import rows
from .compare import spread, write

PAPER = (4, 16, 64, 256, 1024)  # workers
STORE = 100 * 2**20  # bytes of a node's object store: the least that Ray takes


class _Timed(Crew):
    """Begins when all workers that were asked for are there."""

    started = began = processor = 0.0

    def staff(self, wanted: int) -> None:
        _Timed.started = _Timed.started or time.perf_counter()
        super().staff(wanted)

    def idle(self) -> list[Hand]:
        ready = super().idle()
        if not _Timed.began and len(ready) == self._asked:
            _Timed.began, _Timed.processor = time.perf_counter(), time.process_time()
        return ready if _Timed.began else []


class _TimedWriter(Writer):
    """Adds up how long it takes to write pictures and their lines."""

    seconds = 0.0

    def _end(self, ended: Ended) -> None:
        started = time.perf_counter()
        super()._end(ended)
        _TimedWriter.seconds += time.perf_counter() - started


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """The address of a cluster of so many nodes of one processor, on this machine."""
    node = {"num_cpus": 1, "object_store_memory": STORE}
    ray: Any = importlib.import_module("ray.cluster_utils")
    made = ray.Cluster(initialize_head=True, connect=False, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            made.add_node(**node)
        yield made.address
    finally:
        made.shutdown()


def on_workers(jobs: list[dict[str, str]], workers: int, options: dict[str, Any]) -> dict[str, float]:
    """One batch: seconds until the workers were there, seconds from then on, and in them those of the driver's writer
    and of its processor.
    """
    _Timed.started = _Timed.began = _TimedWriter.seconds = 0.0
    crew, writer = mock.patch.object(cluster, "Crew", _Timed), mock.patch.object(batching, "Writer", _TimedWriter)
    with tempfile.TemporaryDirectory() as folder, crew, writer:
        made = stylogram.batch(jobs, output=folder, workers=workers, **options)
        ended, processor = time.perf_counter(), time.process_time()
        assert made.done == len(jobs), made.failures
    start = _Timed.began - _Timed.started
    own = {"writer": _TimedWriter.seconds, "driver": processor - _Timed.processor}
    return {"start": start, "seconds": ended - _Timed.began, **own}


def without_ray(jobs: list[dict[str, str]], threads: int, options: dict[str, Any]) -> float:
    """Seconds of a batch in this process."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = stylogram.batch(jobs, output=folder, threads=threads, **options)
        assert made.done == len(jobs), made.failures
        return time.perf_counter() - started


def measured(jobs: list[dict[str, str]], rounds: int, options: dict[str, Any]) -> dict[str, Any]:
    """One worker, two, and none, by turns."""
    times: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    alone: dict[int, list[float]] = {1: [], 2: []}
    with nodes(2) as address:
        for _ in range(rounds):
            for count in times:
                times[count].append(on_workers(jobs, count, {**options, "ray": address}))
                alone[count].append(without_ray(jobs, count, options))
    table = [_row(times, alone, count, len(jobs)) for count in times]
    return {"workers": table, "on_paper": on_paper(*table)}


def on_paper(one: dict[str, Any], two: dict[str, Any]) -> list[dict[str, float]]:
    """Pictures an hour of W workers: min(W · r · e, 3600 / d), from the rows of one worker and of two.

    r: those of one worker. e: what each of two makes of that, at most 1. d: the seconds that the driver's writer takes
    for a picture, which the worker has encoded: one after the other, with an fsync of the file and of its line. Or the
    driver's processor seconds a picture, where those are more: it is one process of Python. It is assumed that nodes
    take nothing from each other, that inputs come as fast as here, that outputs go to a disk as fast as this, and that
    there are many more pictures than workers.
    """
    rate, each = one["pictures_an_hour"], min(two["times_one_worker"]["median"] / two["workers"], 1.0)
    names = ("writer_seconds_a_picture", "driver_seconds_a_picture")
    most = 3600 / max(row[name] for row in (one, two) for name in names)
    return [{"workers": count, "pictures_an_hour": min(count * rate * each, most)} for count in PAPER]


def _row(
    times: dict[int, list[dict[str, float]]], alone: dict[int, list[float]], count: int, jobs: int
) -> dict[str, Any]:
    own = [one["seconds"] for one in times[count]]
    single = [one["seconds"] for one in times[1]]
    return {
        "workers": count,
        "seconds": own,
        "pictures_an_hour": 3600 * jobs / statistics.median(own),
        "times_one_worker": spread([a / b for a, b in zip(single, own, strict=True)]),
        "without_ray_seconds": alone[count],
        "times_without_ray": spread([a / b for a, b in zip(alone[count], own, strict=True)]),
        "seconds_to_start": [one["start"] for one in times[count]],
        "writer_seconds_a_picture": statistics.median(one["writer"] for one in times[count]) / jobs,
        "driver_seconds_a_picture": statistics.median(one["driver"] for one in times[count]) / jobs,
    }


@click.command()
@click.option("--network", default="seednet")
@click.option("--size", default=128)
@click.option("--pictures", "count", default=16)
@click.option("--iterations", default=30)
@click.option("--batch", default=4)
@click.option("--rounds", default=3)
@click.option("-o", "--output")
def main(network: str, size: int, count: int, iterations: int, batch: int, rounds: int, output: str | None) -> None:
    """Measure one worker and two."""
    options = {"network": network, "size": size, "iterations": iterations, "batch": batch}
    with tempfile.TemporaryDirectory() as folder:
        jobs = rows(Path(folder), count, size)
        without_ray(jobs[:batch], 1, options)
        record = measured(jobs, rounds, options)
    for row in record["workers"]:
        print(row)
    shown = {**options, "network": Path(network).name, "pictures": count}
    if output:
        write(Path(output), {**shown, **record})


if __name__ == "__main__":
    main()
