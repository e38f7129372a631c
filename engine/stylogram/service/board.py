"""The board: jobs that have not ended, in their order, and what the disk has of them. One lock guards all of it.

What is said to a client is on the disk first. Where the disk does not take what has become of a job, no further one is
taken or started until it does: what has ended meanwhile is said, and written as soon as it can be.
"""

import logging
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import replace

from ..errors import Error
from ..files import reason
from . import schemas
from .archive import Archive
from .jobs import Job
from .live import FullError, Live, UnavailableError
from .metrics import Metrics
from .settings import Settings

log = logging.getLogger("stylogram.service")
ATTEMPTS = 5  # starts of a job, over crashes of the server


class Board:
    """Of one server. Who reads or changes more than one thing at a time holds `news`, which says that there is some."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises Error: the state directory cannot be used. Jobs of a server before go on where they can."""
        self.settings, self.metrics = settings, metrics
        self.archive = Archive(settings)
        self.store = self.archive.store
        self.news = threading.Condition(threading.RLock())
        self.live: dict[str, Live] = {}
        self.queue: list[str] = []
        self.running: list[str] = []
        self.stopping = False
        self._unsaved: dict[str, Live] = {}
        self._problem = ""  # why
        self._typical = 10.0  # seconds of a job, for Retry-After
        try:
            self._recover()
        except (sqlite3.Error, OSError) as problem:
            self.store.close()
            raise Error(f"state: {settings.state} cannot be written: {problem}; a disk with room is accepted") from None

    def _recover(self) -> None:
        """Take up what a server before has left."""
        for job in self.store.waiting():
            if job.state == "running" and job.attempts >= ATTEMPTS:
                job.state, job.finished = "failed", time.time()
                job.error = f"it was started {job.attempts} times, and the server ended each time"
                self.store.save(job)
                continue
            if job.state == "running":
                job.state = "queued"
                self.store.save(job)
            self.live[job.id] = Live(job, list(job.losses))
            self.queue.append(job.id)
        self.archive.sweep()

    def refusal(self) -> UnavailableError | None:
        """Why no job is taken or started, or None."""
        if self.stopping:
            return UnavailableError("the server is stopping; try again later")
        self._write_again()
        if self._unsaved:
            return UnavailableError(f"the server's state cannot be written: {self._problem}; try again later", 507)
        try:
            free = self.archive.free()
        except OSError as problem:
            return UnavailableError(f"the server's state cannot be reached: {reason(problem)}; try again later", 507)
        if free < self.settings.min_free:
            needed = self.settings.min_free >> 20
            return UnavailableError(f"the disk is full: {free >> 20} MiB are free, {needed} are needed", 507)
        return None

    def check_room(self) -> None:
        """Raises FullError or UnavailableError where no further job is taken."""
        with self.news:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal
            if len(self.queue) >= self.settings.max_queue:
                raise FullError(len(self.queue), max(1, min(600, round(self._typical))))

    def add(self, job: Job, data: dict[str, list[bytes]]) -> None:
        """A further job with its pictures. Raises FullError, UnavailableError."""
        with self.news:
            self.check_room()
            self.archive.add(job, data)
            self.live[job.id] = Live(job)
            self.queue.append(job.id)
            self.news.notify_all()

    def remove(self, name: str) -> Job | None:
        """Forget a job that has ended; None: there is none."""
        with self.news:
            job = self.archive.remove(name)
            self._unsaved.pop(name, None)
            live = self.live.pop(name, None)
            if live is not None:
                self.tell(live)
            return job

    def view(self, job: Job, live: Live | None) -> schemas.JobView:
        """A job as clients see it."""
        position = self.queue.index(job.id) if job.id in self.queue else None
        progress = None
        if live is not None and live.rows and job.state == "running":
            progress = schemas.progress_of(live.rows, live.scales, live.seconds)
        return schemas.view(job, position, progress, (self.archive.directory(job.id) / "before.jpg").exists())

    def take(self) -> list[Live]:
        """The jobs to paint next: the first, and others of its kind. Empty, after a second or some news: not now."""
        with self.news:
            group = self._group() if self.refusal() is None else []
            begun = [self._start(live) for live in group]
            if group and all(begun):
                self.running = [live.job.id for live in group]
                self.queue = [name for name in self.queue if name not in self.running]
                for live in group:
                    self.metrics.waited.observe(time.time() - live.job.created)
                return group
            for live in group:  # not all could be written; none is begun
                live.job.state, live.job.started = "queued", None
                live.job.attempts -= 1
            self.news.wait(1.0)
            return []

    def _group(self) -> list[Live]:
        if not self.queue:
            return []
        first = self.live[self.queue[0]]
        alike = [live for name in self.queue[1:] if (live := self.live[name]).goes_with(first)]
        return [first, *alike[: self.settings.batch - 1]]

    def _start(self, live: Live) -> bool:
        live.job.state, live.job.started = "running", time.time()
        live.job.attempts += 1
        return self.save(live)

    def again(self, live: Live) -> None:
        """Back into the queue, to its old place."""
        live.job.state = "queued"
        if live.job.checkpoint is None:
            live.rows.clear()
        else:
            live.rows[:] = live.job.losses
        self.save(live)
        self.queue = sorted([*self.queue, live.job.id], key=lambda name: self.live[name].job.number)

    def end(self, live: Live, state: str, error: str | None = None) -> None:
        """Nothing more happens to a job."""
        job = live.job
        job.state, job.error, job.finished = state, error, time.time()
        job.losses, job.checkpoint = list(live.rows), None
        self.save(live)
        self.metrics.ended.labels(job.task, state).inc()
        if job.started is not None:
            seconds = job.finished - job.started
            self.metrics.seconds.labels(job.task).observe(seconds)
            self._typical += (seconds - self._typical) / 5
        self.tell(live)
        self.tell_all()

    def cancel(self, live: Live) -> None:
        """End a job that waits. Raises sqlite3.Error where that cannot be written, and it waits on."""
        self.store.save(replace(live.job, state="cancelled", finished=time.time(), checkpoint=None))
        self.queue.remove(live.job.id)
        self.end(live, "cancelled")

    def save(self, live: Live) -> bool:
        """What has become of a job. Whether it is on the disk; if not, it is written as soon as it can be."""
        job = live.job
        try:
            self.store.save(job)
        except sqlite3.Error as problem:
            if not self._unsaved:
                log.error("the state cannot be written: %s", problem)
            self._unsaved[job.id], self._problem = live, str(problem)
            return False
        self._unsaved.pop(job.id, None)
        if job.ended:
            self.live.pop(job.id, None)
            with suppress(OSError):
                (self.archive.directory(job.id) / "checkpoint.png").unlink(missing_ok=True)
        return True

    def _write_again(self) -> None:
        """What could not be written, if it can be now."""
        with self.news:
            for live in list(self._unsaved.values()):
                if not self.save(live):
                    return

    def prune(self) -> None:
        """Remove ended jobs but the newest. On a full disk what is old stays until there is room."""
        with self.news, suppress(sqlite3.Error, OSError):
            for name in self.store.surplus(self.settings.keep):
                self.remove(name)

    def tell(self, live: Live) -> None:
        """Who watches it."""
        for watcher in live.watchers:
            watcher.tell()

    def tell_all(self) -> None:
        """Places in the queue have changed."""
        for live in list(self.live.values()):
            self.tell(live)

    def close(self) -> None:
        """Give the state back, after a last try to write what could not be written."""
        self._write_again()
        self.store.close()
