"""Batch: many pictures, those of equal shape and network optimised together, and none of them twice."""

import os
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import memory, remote
from ..errors import Error
from ..options import check_callback, check_path, checked
from ..tasks.stylize import Options
from . import rows
from .cluster import Cluster
from .connection import connected
from .jobs import FIELDS, Job, Reader, pairs
from .ledger import Ledger
from .outputs import Outputs, outputs
from .progress import Callback, Progress, Tally
from .runner import Runner
from .shared import Shared
from .writer import Ended, Sink, Writer

__all__ = ["Progress", "Summary", "batch", "memory"]
MOST = 4096  # pictures at once that may be asked for
MOST_WORKERS = 65536

Jobs = str | Path | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Summary:
    """`done` pictures were made and `kept` were there from before; `failures` are jobs and why.

    `results`: the file of lines, a URL if the pictures went to one. `notes`: on which device it ran, and why.
    """

    done: int
    kept: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    results: str | Path
    notes: tuple[str, ...] = ()


def batch(
    jobs: Jobs | None = None,
    *,
    output: str | Path,
    content: str | Path | None = None,
    style: str | Path | None = None,
    batch: int | str = "auto",
    ray: str | None = None,
    workers: int | str | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Summary:
    """Stylise many pictures into the directory `output`.

    `jobs` is a CSV or JSON-lines file or a list of mappings: `content`, `style` (or a list of them), `output` if the
    picture is to have another name, and any option of stylize. Without `jobs`, every picture of the folder `content` is
    made in every style of the folder `style`. `options` are stylize's, for jobs that do not say otherwise. `batch`:
    pictures that are optimised together, or "auto", by memory. `callback` is given a Progress after every iteration, by
    several threads, one at a time. Files and `output` may be URLs that fsspec knows.

    `ray`: "auto" or the address of a Ray cluster, on which `workers` paint, as many as there is room for if not given,
    each with `threads` processors. `callback` is given a Progress twice a second and worker then.

    A job whose picture cannot be read, whose loss is no number or whose picture cannot be written fails alone. What was
    done in that directory before is not done again. Raises Error for a row or option that is wrong, before anything is
    made, and when the disk is full; KeyboardInterrupt on Ctrl-C, when what was finished is written.
    """
    check_callback(callback)
    check_path("output", output)
    for name, value in (("content", content), ("style", style)):
        if value is not None:
            check_path(name, value)
    if ray is not None and not isinstance(ray, str):
        raise Error(f"ray: auto, or HOST:PORT of a cluster's head, is accepted, got {ray!r}")
    together, workers = _together(batch), _workers(workers, ray)
    free = memory.available()
    shared = Shared(memory.SHARE * free, here=ray is None)
    defaults = checked(Options, options)
    if "network" in options or "device" in options:
        shared.check(defaults)
    all_jobs = _jobs(jobs, output, content, style, options, shared)
    with ExitStack() as around:
        cluster = around.enter_context(connected(ray)) if ray is not None else None
        ledger = around.enter_context(closing(Ledger(outputs(output))))
        missing = [job for job in all_jobs if not ledger.has(job)]
        ledger.outputs.sweep(missing)
        tally = Tally(len(all_jobs), len(all_jobs) - len(missing), callback)
        writer = Writer(ledger, tally.ended, depth=2 * memory.MOST)
        to_make = _by_network(_apart(missing, ledger.outputs, writer), shared)
        if cluster is None:
            Runner(to_make, shared, together, free, tally, writer).run()
        else:
            Cluster(cluster, workers, to_make, shared, together, tally, writer).run()
        results = ledger.outputs.results
        return Summary(tally.done, tally.kept, tuple(tally.failures), tally.seconds, results, shared.notes())


def _together(given: int | str) -> int | None:
    """Pictures at once; None to choose."""
    if given == "auto":
        return None
    try:
        count = int(given) if isinstance(given, str) else given
    except ValueError:
        count = 0
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        raise Error(f"batch: auto or a number from 1 to {MOST} is accepted, got {given!r}")
    return count


def _jobs(
    jobs: Jobs | None,
    output: str | Path,
    content: str | Path | None,
    style: str | Path | None,
    options: dict[str, Any],
    shared: Shared,
) -> list[Job]:
    if (jobs is None) == (content is None and style is None):
        raise Error("jobs: a file of jobs is accepted, or a folder of contents and one of styles; one of the two")
    if jobs is None:
        if content is None or style is None:
            missing = "content" if content is None else "style"
            raise Error(f"{missing}: a folder of contents and one of styles are accepted, got no {missing}")
        return Reader(output, "", options, shared.check).jobs("pairs", pairs(content, style))
    if isinstance(jobs, str | Path):
        path = remote.plain(str(jobs))
        return Reader(output, os.path.dirname(path), options, shared.check).jobs(path, rows.read(path, FIELDS))
    if not isinstance(jobs, list | tuple):
        raise Error(f"jobs: a file or a list of mappings is accepted, got {type(jobs).__name__}")
    return Reader(output, "", options, shared.check).jobs("jobs", rows.given(jobs))


def _workers(workers: int | str | None, ray: str | None) -> int | None:
    """How many; None to choose."""
    if workers is None:
        return None
    if ray is None:
        raise Error("workers: accepted together with ray only")
    try:
        count = int(workers) if isinstance(workers, str) else workers
    except ValueError:
        count = 0
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_WORKERS:
        raise Error(f"workers: a number from 1 to {MOST_WORKERS} is accepted, got {workers!r}")
    return count


def _apart(jobs: Sequence[Job], where: Outputs, sink: Sink) -> list[Job]:
    """The jobs whose output is none of their inputs; the others fail."""
    fine: list[Job] = []
    for job in jobs:
        if where.read_by(job):
            problem = f"the output {job.output} is one of the inputs; accepted: another name"
            sink.put(Ended(job, None, None, 0.0, problem))
        else:
            fine.append(job)
    return fine


def _by_network(jobs: Sequence[Job], shared: Shared) -> list[Job]:
    """In their order, but those of one network one after the other."""
    keys: dict[int, Hashable] = {}  # by the options, of which there are few
    places: dict[Hashable, int] = {}
    for job in jobs:
        if id(job.options) not in keys:
            keys[id(job.options)] = shared.network_key(job.options, job.options.recipe().pooling)
        places.setdefault(keys[id(job.options)], len(places))
    return sorted(jobs, key=lambda job: places[keys[id(job.options)]])
