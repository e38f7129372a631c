"""Batches on a cluster: the driver hands out groups of jobs and writes what comes back.

One group at a time is with each worker, so that what is under way is bounded. When a worker or its node is lost, the
jobs of its group that have not ended are handed out again, each alone; one that has lost TRIES workers is recorded as
failed. What comes is written by this process, by the writer that batches of one machine have: so a job has one line
for each time that it ended, and a driver that was killed goes on as they do.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import memory
from ..errors import Error
from ..subject import STARTS
from ..tasks.stylize import Options
from .connection import one_line
from .crew import Crew, Hand, Lost
from .groups import Groups
from .jobs import Job, anchored
from .progress import Tally
from .shared import Shared
from .worker import Made
from .writer import Ended, Sink

TRIES = 4  # workers that a job may lose


class Cluster:
    """One run over jobs on the workers of a Ray cluster. `batch`: pictures at once, None for as a worker has memory."""

    def __init__(
        self,
        ray: Any,
        workers: int | None,
        jobs: Sequence[Job],
        shared: Shared,
        batch: int | None,
        tally: Tally,
        sink: Sink,
    ) -> None:
        self._ray, self._shared, self._batch, self._tally, self._sink = ray, shared, batch, tally, sink
        asked = {job.options.device for job in jobs if job.options.tile is None}
        there = "auto" in asked and ray.cluster_resources().get("GPU", 0) > 0
        gpu = there or bool(asked - {"cpu", "auto"})
        threads = max((job.options.threads for job in jobs), default=0)
        self._crew = Crew(ray, workers, threads, gpu)
        self._groups = Groups(jobs, shared, batch or memory.MOST)
        self._lost: Counter[str] = Counter()  # workers, by the job's digest
        self._networks: dict[str, Any] = {}
        self._options: dict[int, Options] = {}
        self._running = 0  # jobs that workers have

    def run(self) -> None:
        """Until every job has ended. What has come is written, whatever ends the run.

        Raises what Runner.run does, and Error where a worker or the cluster says that it cannot go on.
        """
        try:
            self._run()
        except self._ray.exceptions.RayTaskError as problem:
            if isinstance(problem.cause, Error):
                raise Error(str(problem.cause)) from None
            raise  # a mistake in the worker's own code, as it would be raised here
        except self._ray.exceptions.RayError as problem:
            raise Error(f"ray: {type(problem).__name__}: {one_line(problem)}") from problem

    def _run(self) -> None:
        try:
            while (self._groups.left or self._running) and not self._sink.stopped.is_set():
                self._crew.staff(self._groups.left + self._running)
                self._tally.waiting(self._crew.waiting)
                for hand in self._crew.idle():
                    self._hand_out(hand)
                for hand, news in self._crew.news():
                    if isinstance(news, Lost):
                        self._lose(hand, news)
                    else:
                        self._tally.running(hand.number, news.running)
                        if news.made is not None:
                            self._take(hand, news.made)
                        elif hand.idle and hand.jobs:
                            raise RuntimeError(f"a worker said nothing of {len(hand.jobs)} jobs of its group")
        finally:
            self._groups.close()
            self._crew.close()
            self._sink.finish()

    def _hand_out(self, hand: Hand) -> None:
        jobs = self._groups.take(self._crew.size)
        if jobs:
            self._running += len(jobs)
            sent = [self._sent(job) for job in jobs]
            networks = {str(job.options.network): self._networks[str(job.options.network)] for job in sent}
            self._crew.give(hand, jobs, sent, networks, self._batch)

    def _take(self, hand: Hand, made: Made) -> None:
        job = hand.jobs.pop(made.number)
        self._running -= 1
        worker = hand.hello.name if hand.hello else None
        self._sink.put(Ended(job, None, made.loss, made.seconds, made.error, made.data, worker))

    def _lose(self, hand: Hand, lost: Lost) -> None:
        """Its jobs go on elsewhere."""
        self._tally.running(hand.number, 0.0)
        self._running -= len(hand.jobs)
        for job in reversed(hand.jobs.values()):
            self._lost[job.digest] += 1
            if self._lost[job.digest] < TRIES:
                self._groups.again(job)
                continue
            worker = hand.hello.name if hand.hello else "a worker"
            why = f"{TRIES} workers were lost while they had it, the last {worker} ({lost.how}); Ray's log may say why"
            self._sink.put(Ended(job, None, None, 0.0, why, worker=worker))
            self._crew.ended()

    def _sent(self, job: Job) -> Job:
        """As a worker gets it: a name for its network, and paths from anywhere."""
        key = id(job.options)
        if key not in self._options:
            self._options[key] = self._portable(job.options)
        return replace(job, options=self._options[key])

    def _portable(self, options: Options) -> Options:
        pooling = options.recipe().pooling
        name = hashlib.sha256(repr(self._shared.network_key(options, pooling)).encode()).hexdigest()[:16]
        if name not in self._networks:
            self._networks[name] = self._ray.put(self._shared.network(options, pooling))
        masks = tuple(tuple(map(_anchored, pair)) for pair in options.mask)
        init = options.init if isinstance(options.init, str) and options.init in STARTS else _anchored(options.init)
        scratch = None if options.scratch is None else Path(_anchored(options.scratch))
        return options.model_copy(update={"network": name, "mask": masks, "init": init, "scratch": scratch})


def _anchored(source: Any) -> Any:
    """An option's path as every node knows it; arrays as they are."""
    return anchored(source) if isinstance(source, str | os.PathLike) else source
