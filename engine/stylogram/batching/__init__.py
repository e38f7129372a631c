"""Batch: many pictures, those of equal shape and network optimised together, and none of them twice."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Error
from ..options import checked
from ..tasks.stylize import Options
from . import memory, rows
from .jobs import FIELDS, Job, Reader, pairs
from .ledger import Ledger
from .progress import Callback, Progress, Tally
from .runner import Runner
from .shared import Shared

__all__ = ["Progress", "Summary", "batch"]
MOST = 4096  # pictures at once that may be asked for

Jobs = str | Path | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Summary:
    """`done` pictures were made and `kept` were there from before; `failures` are jobs and why. `results`: the file."""

    done: int
    kept: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    results: Path


def batch(
    jobs: Jobs | None = None,
    *,
    output: str | Path,
    content: str | Path | None = None,
    style: str | Path | None = None,
    batch: int | str = "auto",
    callback: Callback | None = None,
    **options: Any,
) -> Summary:
    """Stylise many pictures into the directory `output`.

    `jobs` is a CSV or JSON-lines file or a list of mappings: `content`, `style` (or a list of them), `output` if the
    picture is to have another name, and any option of stylize. Without `jobs`, every picture of the folder `content` is
    made in every style of the folder `style`. `options` are stylize's, for jobs that do not say otherwise. `batch`:
    pictures that are optimised together, or "auto", by memory. `callback` is given a Progress after every iteration, by
    several threads, one at a time.

    A job whose picture cannot be read, whose loss is no number or whose picture cannot be written fails alone. What was
    done in that directory before is not done again. Raises Error for a row or option that is wrong, before anything is
    made, and when the disk is full; KeyboardInterrupt on Ctrl-C, when what was finished is written.
    """
    if callback is not None and not callable(callback):
        raise Error(f"callback: a function of one Progress is accepted, got {callback!r}")
    together = _together(batch)
    free = memory.available()
    shared = Shared(memory.SHARE * free)
    defaults = checked(Options, options)
    if "network" in options:
        shared.check(defaults)
    all_jobs = _jobs(jobs, Path(output), content, style, options, shared)
    ledger = Ledger(Path(output))
    try:
        missing = [job for job in all_jobs if not ledger.has(job)]
        ledger.sweep(missing)
        kept = len(all_jobs) - len(missing)
        tally = Tally(len(all_jobs), kept, callback)
        if missing:
            Runner(_by_network(missing, shared), ledger, shared, together, free, tally).run()
        return Summary(tally.done, kept, tuple(tally.failures), tally.seconds, ledger.path)
    finally:
        ledger.close()


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
    output: Path,
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
        return Reader(output, Path(), options, shared.check).jobs("pairs", pairs(content, style))
    if isinstance(jobs, str | Path):
        path = Path(jobs)
        return Reader(output, path.parent, options, shared.check).jobs(str(path), rows.read(path, FIELDS))
    if not isinstance(jobs, list | tuple):
        raise Error(f"jobs: a file or a list of mappings is accepted, got {type(jobs).__name__}")
    return Reader(output, Path(), options, shared.check).jobs("jobs", rows.given(jobs))


def _by_network(jobs: Sequence[Job], shared: Shared) -> list[Job]:
    """In their order, but those of one network one after the other."""
    keys: dict[int, Hashable] = {}  # by the options, of which there are few
    places: dict[Hashable, int] = {}
    for job in jobs:
        if id(job.options) not in keys:
            keys[id(job.options)] = shared.network_key(job.options, job.options.recipe().pooling)
        places.setdefault(keys[id(job.options)], len(places))
    return sorted(jobs, key=lambda job: places[keys[id(job.options)]])
