"""The dispatcher: a bounded queue before one worker process, and everybody who watches.

What is said to a client is on the disk first. A worker that dies takes no job with it: each of those it had is tried
again alone, and fails when it is the death of a second one. After a crash of the server itself the jobs that were
running begin again, stylize jobs from their last checkpoint.
"""

import base64
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import schemas
from .archive import Archive
from .catalogue import network_files
from .jobs import Job
from .live import FullError, Live, UnavailableError, Watcher
from .metrics import Metrics
from .process import Worker
from .settings import Settings

log = logging.getLogger("stylogram.service")
DEATHS = 2  # of workers, with a job alone, after which it has failed
ATTEMPTS = 5  # starts of a job, over crashes of the server
PATIENCE = 60.0  # seconds beyond its limit that a job may go without an iteration


class Dispatcher:
    """One for each server. Its methods are safe from every thread."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises Error: the state directory cannot be used. Jobs of a server before go on where they can."""
        self.settings, self.metrics = settings, metrics
        self.networks = network_files(settings)
        self.archive = Archive(settings)
        self.store = self.archive.store
        self._news = threading.Condition(threading.RLock())
        self._live: dict[str, Live] = {}
        self._queue: list[str] = []
        self._running: list[str] = []
        self._typical = 10.0  # seconds of a job, for Retry-After
        self._worker: Worker | None = None
        self.stopping = False
        self.fault: str | None = None
        metrics.watch(lambda: len(self._queue), lambda: len(self._running), self._resident)
        self._recover()
        self._thread = threading.Thread(target=self._serve, name="stylogram-dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to paint."""
        self._thread.start()

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
            self._live[job.id] = Live(job, list(job.losses))
            self._queue.append(job.id)
        self.archive.sweep()

    # What clients ask for

    def submit(self, job: Job, data: dict[str, list[bytes]]) -> Job:
        """Accept a job with its pictures. Raises FullError, UnavailableError, Error."""
        with self._news:
            self.check_room()
            self.archive.add(job, data)
            self._live[job.id] = Live(job)
            self._queue.append(job.id)
            self._news.notify_all()
        return job

    def check_room(self) -> None:
        """Raises FullError or UnavailableError where no further job is taken."""
        with self._news:
            reason = self.unavailable()
            if reason is not None:
                raise UnavailableError(reason, 507 if "disk" in reason else 503)
            waiting = len(self._queue)
            if waiting >= self.settings.max_queue:
                raise FullError(waiting, max(1, min(600, round(self._typical))))

    def unavailable(self) -> str | None:
        """Why no job is taken, or None."""
        if self.stopping:
            return "the server is stopping; try again later"
        if self.fault is not None:
            return self.fault
        if self._thread.ident is not None and not self._thread.is_alive():
            return "the dispatcher has ended, which is a fault; the server's log says more"
        free = self.archive.free()
        if free < self.settings.min_free:
            return f"the disk is full: {free >> 20} MiB are free, {self.settings.min_free >> 20} are needed"
        return None

    def cancel(self, name: str) -> Job | None:
        """Stop a job that has not ended, or remove one that has. None: there is none."""
        with self._news:
            live = self._live.get(name)
            if live is None or live.job.ended:
                return self._remove(name)
            live.cancelling = True
            if name in self._queue:
                self._queue.remove(name)
                self._end(live, "cancelled")
            elif self._worker is not None:
                self._worker.say(cancel=name)
            return live.job

    def _remove(self, name: str) -> Job | None:
        job = self.archive.remove(name)
        live = self._live.pop(name, None)
        if live is not None:
            self._tell(live)
        return job

    def describe(self, name: str) -> schemas.JobView | None:
        """A job as clients see it."""
        with self._news:
            live = self._live.get(name)
            job = self.store.get(name) if live is None else live.job
            return None if job is None else self._view(job, live)

    def newest(self, count: int, before: int | None, state: str | None) -> tuple[list[schemas.JobView], int | None]:
        """Jobs, the newest first, and the number from which the next page goes on."""
        found = self.store.newest(count, before, state)
        with self._news:
            views = [self._view(job if (live := self._live.get(job.id)) is None else live.job, live) for job in found]
        return views, found[-1].number if len(found) == count else None

    def _view(self, job: Job, live: Live | None) -> schemas.JobView:
        position = self._queue.index(job.id) if job.id in self._queue else None
        progress = None
        if live is not None and live.rows and job.state == "running":
            progress = schemas.progress_of(live.rows, live.scales, live.seconds)
        return schemas.view(job, position, progress, (self.archive.directory(job.id) / "before.jpg").exists())

    def preview(self, name: str) -> bytes | None:
        """The latest preview, JPEG."""
        with self._news:
            live = self._live.get(name)
            if live is not None and live.preview is not None:
                return live.preview
        try:
            return (self.archive.directory(name) / "preview.jpg").read_bytes()
        except OSError:
            return None

    @contextmanager
    def watching(self, name: str, watcher: Watcher) -> Iterator[Live | None]:
        """A job to be watched; None: there is none. One that has ended is read from the disk."""
        with self._news:
            live = self._live.get(name)
            if live is None:
                job = self.store.get(name)
                live = None if job is None else Live(job, list(job.losses))
            else:
                live.watchers.add(watcher)
        try:
            yield live
        finally:
            with self._news:
                if live is not None:
                    live.watchers.discard(watcher)

    @property
    def counts(self) -> tuple[int, int]:
        """Jobs queued and running."""
        return len(self._queue), len(self._running)

    # The thread that paints

    def _serve(self) -> None:
        while (group := self._next()) is not None:
            try:
                self._paint(group)
            except Exception:
                log.exception("painting failed")
                self.fault = "the dispatcher has a fault; the server's log says more"
                raise

    def _next(self) -> list[Live] | None:
        """The jobs to paint next: the first, and others of its kind; None when the server stops."""
        with self._news:
            while not self.stopping:
                if self._queue and (self.unavailable() is None):
                    first = self._live[self._queue[0]]
                    alike = [live for name in self._queue[1:] if (live := self._live[name]).goes_with(first)]
                    group = [first, *alike[: self.settings.batch - 1]]
                    names = [live.job.id for live in group]
                    self._queue = [name for name in self._queue if name not in names]
                    self._running = names
                    return group
                self._news.wait(1.0)
        return None

    def _paint(self, group: list[Live]) -> None:
        """Until all of a group have ended, or wait again."""
        for live in group:
            live.job.state, live.job.started = "running", time.time()
            live.job.attempts += 1
            self._save(live.job)
            self.metrics.waited.observe(live.job.started - live.job.created)
        self.metrics.together.observe(len(group))
        worker = self._worker or Worker(self.settings)
        with self._news:
            self._worker = worker
            worker.say(run=[self._told(live) for live in group])
            for live in group:
                if live.cancelling:
                    worker.say(cancel=live.job.id)
            if self.stopping:
                worker.say(stop=True)
            self._tell_all()
        watchdog = threading.Timer(self.settings.max_seconds * len(group) + PATIENCE, worker.kill)
        watchdog.daemon = True
        watchdog.start()
        finished = False
        try:
            for message in worker.heard():
                if message["event"] == "idle":
                    finished = True
                    break
                if "job" in message:
                    self._hear(message)
        finally:
            watchdog.cancel()
        if not finished:
            self._died(group, worker)
        with self._news:
            self._running = []
            self._news.notify_all()
        with suppress(sqlite3.Error, OSError):  # on a full disk what is old stays until there is room
            self._prune()

    def _told(self, live: Live) -> dict[str, Any]:
        job = live.job
        options = dict(job.options)
        if "network" in options:
            options["network"] = self.networks.get(options["network"], options["network"])
        paths = {name: [str(self.archive.uploads.path(one)) for one in own] for name, own in job.pictures.items()}
        return {"id": job.id, "task": job.task, "options": options, "pictures": paths, "format": job.format,
                "checkpoint": job.checkpoint, "directory": str(self.archive.directory(job.id))}  # fmt: skip

    def _hear(self, message: dict[str, Any]) -> None:
        with self._news:
            live = self._live.get(message["job"])
            if live is None or live.job.ended or live.job.state != "running":
                return
            _HEARD[message["event"]](self, live, message)
            self._tell(live)

    def _progress(self, live: Live, message: dict[str, Any]) -> None:
        if math.isfinite(message["loss"]):
            live.add((message["scale"], message["iteration"], message["seconds"], message["loss"]))
        live.scales, live.seconds = (message["scales"], message["iterations"]), message["seconds"]
        self.metrics.iterations.inc()

    def _previewed(self, live: Live, message: dict[str, Any]) -> None:
        live.preview = base64.b64decode(message["jpeg"])
        live.previews += 1

    def _kept(self, live: Live, message: dict[str, Any]) -> None:
        if message["checkpoint"] is not None:
            live.job.checkpoint, live.job.losses = message["checkpoint"], list(live.rows)
            self._save(live.job)

    def _ended(self, live: Live, message: dict[str, Any]) -> None:
        if message["state"] == "stopped":
            live.job.attempts -= 1  # of our own will
            if message["checkpoint"] is None:
                live.rows.clear()
            self._kept(live, message)
            self._again(live)
            return
        size = message["size"]
        live.job.size = (size[0], size[1]) if size else None
        live.job.notes = message["notes"]
        self._end(live, message["state"], message["error"])

    def _again(self, live: Live) -> None:
        """Back into the queue, to its old place."""
        live.job.state = "queued"
        if live.job.checkpoint is None:
            live.rows.clear()
        else:
            live.rows[:] = live.job.losses
        self._save(live.job)
        self._queue = sorted([*self._queue, live.job.id], key=lambda name: self._live[name].job.number)

    def _end(self, live: Live, state: str, error: str | None = None) -> None:
        job = live.job
        job.state, job.error, job.finished = state, error, time.time()
        job.losses, job.checkpoint = list(live.rows), None
        self._save(job)
        (self.archive.directory(job.id) / "checkpoint.png").unlink(missing_ok=True)
        self.metrics.ended.labels(job.task, state).inc()
        if job.started is not None:
            seconds = job.finished - job.started
            self.metrics.seconds.labels(job.task).observe(seconds)
            self._typical += (seconds - self._typical) / 5
        self._tell_all()
        self._live.pop(job.id, None)

    def _died(self, group: list[Live], worker: Worker) -> None:
        """The worker is gone. What it had is tried again, alone; the second death with a job alone is that job's."""
        how = worker.end()
        self.metrics.restarts.inc()
        log.warning("the worker died: %s", how)
        with self._news:
            self._worker = None
            for live in group:
                job = live.job
                if job.state != "running":
                    continue
                live.deaths += len(group) == 1
                if live.cancelling:
                    self._end(live, "cancelled")
                elif live.deaths >= DEATHS:
                    self._end(
                        live, "failed", f"the worker died with it {DEATHS} times ({how}); a smaller size takes less"
                    )
                else:
                    job.alone = True
                    self._again(live)

    def _save(self, job: Job) -> None:
        """On the disk before anybody hears of it; where that is full, as soon as it is not."""
        while True:
            try:
                self.store.save(job)
            except sqlite3.OperationalError as problem:
                self.fault = f"the state cannot be written: {problem}"
                log.error("%s", self.fault)
                if self.stopping:
                    return
                with self._news:
                    self._news.wait(1.0)  # gives the lock away meanwhile, if it is held
            else:
                self.fault = None
                return

    def _prune(self) -> None:
        with self._news:
            for name in self.store.surplus(self.settings.keep):
                self._remove(name)

    def _tell(self, live: Live) -> None:
        for watcher in live.watchers:
            watcher.tell()

    def _tell_all(self) -> None:
        """Places in the queue have changed."""
        for live in self._live.values():
            self._tell(live)

    def _resident(self) -> float:
        return 0 if self._worker is None else self._worker.resident()

    # The end

    def begin_stop(self) -> None:
        """No further job is taken or started; who watches is let go."""
        self.stopping = True
        for live in list(self._live.values()):
            self._tell(live)

    def stop(self) -> None:
        """Let running jobs finish for `grace` seconds, then keep them as far as they are; give the state back."""
        self.begin_stop()
        with self._news:
            self._news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(self.settings.grace)
            if self._thread.is_alive() and self._worker is not None:
                self._worker.say(stop=True)
                self._thread.join(PATIENCE)
            if self._worker is not None:
                self._worker.end()
            self._thread.join(PATIENCE)
        self.store.close()


_HEARD: dict[str, Callable[[Dispatcher, Live, dict[str, Any]], None]] = {
    "before": lambda *_: None,  # there is a picture to compare with, which whoever watches is told
    "progress": Dispatcher._progress,
    "preview": Dispatcher._previewed,
    "checkpoint": Dispatcher._kept,
    "ended": Dispatcher._ended,
}
