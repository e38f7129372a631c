"""The runner: reads ahead, groups jobs of one kind, paints each group, hands the pictures on.

A group of N is painted by as many threads as there are processors, at most N, each with a part of it and sessions of
its own: convolutions of one picture do not keep several processors as busy as several pictures do. On a GPU it is
painted as a whole, by one.
"""

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial

from .. import driver, memory
from ..errors import Error
from ..folder import ahead
from ..session import available_threads
from ..subject import Subject
from .jobs import Job
from .progress import Tally
from .shared import Group, Shared
from .writer import Ended, Sink

WAITING = 4  # groups' worth of jobs that wait for others of their kind
READ_AHEAD = 8


class _Stopped(Exception):  # noqa: N818 -- another part's or the writer's problem is the error
    """A part ends because the run does."""


@dataclass(frozen=True)
class _Ready:
    """A job that was read, or why it could not be."""

    job: Job
    subject: Subject | None
    error: str = ""


@dataclass
class _Kind:
    """Jobs that can be painted together: those that wait, and how many go at once."""

    name: Hashable
    limit: int
    each: int
    waiting: list[_Ready] = field(default_factory=list)


class Runner:
    """One run over jobs. `batch`: pictures at once, None to choose by memory. `sink` takes the jobs that ended."""

    def __init__(
        self, jobs: Sequence[Job], shared: Shared, batch: int | None, free: float, tally: Tally, sink: Sink
    ) -> None:
        self._jobs, self._shared, self._batch, self._free, self._tally = jobs, shared, batch, free, tally
        self._kinds: dict[Hashable, _Kind] = {}
        self._sink = sink
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(available_threads(), "stylogram-batch")
        self._parts: list[Future[list[Ended]]] = []  # that are being painted

    def run(self) -> None:
        """Until every job has ended. What was painted is written, whatever ends the run.

        Raises Error when nothing more can be written; KeyboardInterrupt after Ctrl-C.
        """
        try:
            for ready in ahead((partial(self._read, job) for job in self._jobs), READ_AHEAD):
                self._check_sink()
                self._take(ready)
            while any(kind.waiting for kind in self._kinds.values()):
                self._paint_fullest()
        finally:
            self._stop.set()
            self._pool.shutdown(wait=True)
            wait(self._parts)
            self._sink.finish()

    def _check_sink(self) -> None:
        if self._sink.stopped.is_set():
            raise _Stopped

    def _read(self, job: Job) -> _Ready:
        try:
            return _Ready(job, self._shared.subject(job.content, job.styles, job.options))
        except (Error, MemoryError, OSError) as problem:
            return _Ready(job, None, str(problem) or type(problem).__name__)

    def _take(self, ready: _Ready) -> None:
        if ready.subject is None:
            self._sink.put(Ended(ready.job, None, None, 0.0, ready.error))
            return
        name = self._name(ready)
        try:
            if name not in self._kinds:
                self._kinds[name] = self._kind(name, ready.subject)
        except (Error, MemoryError) as problem:  # a graph that has no gradient at this size
            self._sink.put(Ended(ready.job, None, None, 0.0, _said(problem)))
            return
        kind = self._kinds[name]
        kind.waiting.append(ready)
        if len(kind.waiting) >= kind.limit:
            self._paint(kind)
        elif sum(len(other.waiting) for other in self._kinds.values()) >= WAITING * kind.limit:
            self._paint_fullest()

    def _name(self, ready: _Ready) -> Hashable:
        assert ready.subject is not None
        options, recipe = ready.job.options, ready.subject.recipe
        where = options.threads, options.device, options.precision
        return self._shared.network_key(options, recipe.pooling), *where, ready.subject.kind()

    def _kind(self, name: Hashable, subject: Subject) -> _Kind:
        each = self._shared.bytes_each(subject)
        alone = subject.options.tile is not None  # a picture in tiles has no others beside it
        room = self._shared.room(subject.options, self._free)
        limit = 1 if alone else self._batch or memory.fitting(each, room)
        return _Kind(name, min(limit, self._shared.limits.get(name, limit)), each)

    def _paint_fullest(self) -> None:
        self._paint(max(self._kinds.values(), key=lambda kind: len(kind.waiting)))

    def _paint(self, kind: _Kind) -> None:
        """A group of what waits, until all of it has ended."""
        group, kind.waiting = kind.waiting[: kind.limit], kind.waiting[kind.limit :]
        left = deque([group])
        while left:
            self._check_sink()
            now = left.popleft()
            if len(now) > kind.limit:  # memory has run out meanwhile
                left.appendleft(now[kind.limit :])
            left.extend(self._painted(kind, now[: kind.limit]))

    def _painted(self, kind: _Kind, group: list[_Ready]) -> list[list[_Ready]]:
        """Paint a group in parts, at once; gives the groups in which jobs have to be tried again."""
        options = group[0].job.options
        processors = min(options.threads or available_threads(), available_threads())
        started = time.perf_counter()
        parts = self._shared.in_parts(group, options, processors, self._pool, partial(self._part, each=kind.each))
        self._parts = [future for _, future in parts]
        self._join(self._parts)
        self._parts = []  # what failed holds on to what it was made of
        seconds = (time.perf_counter() - started) / len(group)
        self._tally.group_ended()
        again: list[list[_Ready]] = []
        for part, future in parts:
            problem = future.exception()
            if problem is None:
                for ended in future.result():
                    self._sink.put(replace(ended, seconds=seconds))
            elif memory.ran_out(problem) and (self._shared.forget_passes() or len(group) > 1):
                again.append(part)
                self._halve(kind, len(group))
            elif not (memory.ran_out(problem) or isinstance(problem, Error)):
                raise problem
            elif len(part) > 1:  # one of them is at fault: tried alone, that one fails
                again += [[ready] for ready in part]
            else:
                self._sink.put(Ended(part[0].job, None, None, seconds, _said(problem)))
        return again

    def _halve(self, kind: _Kind, tried: int) -> None:
        """There was not enough memory for `tried` jobs: from now on half as many of their kind go at once."""
        kind.limit = self._shared.limits[kind.name] = max(min(kind.limit, tried // 2), 1)

    def _join(self, futures: Sequence[Future[list[Ended]]]) -> None:
        try:
            wait(futures)
        except KeyboardInterrupt:
            self._stop.set()
            raise

    def _part(self, part: Sequence[_Ready], slot: int, threads: int, each: int) -> list[Ended]:
        """Paint some jobs together, in a thread of the pool."""
        subjects = [ready.subject for ready in part if ready.subject is not None]
        group = Group(subjects, self._shared, slot, threads, each)
        work = [
            count * height * width for count, (height, width) in zip(group.recipe.iterations, group.sizes, strict=True)
        ]

        def look(progress: driver.Progress) -> None:
            if self._stop.is_set() or self._sink.stopped.is_set():
                raise _Stopped
            at = progress.scale - 1
            share = (sum(work[:at]) + work[at] * progress.iteration / progress.iterations) / sum(work)
            self._tally.running(slot, len(part) * share)

        made = group.paint(look)
        return [
            Ended(ready.job, None, None, 0.0, made.failed[at])
            if at in made.failed
            else Ended(ready.job, subject.result(made.pictures[at], []), float(made.losses[at]), 0.0)
            for at, (ready, subject) in enumerate(zip(part, subjects, strict=True))
        ]


def _said(problem: BaseException) -> str:
    if memory.ran_out(problem):
        return f"out of memory for one picture alone ({problem or 'no more can be had'}); a smaller size takes less"
    return str(problem)
