"""How far a batch is."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .writer import Ended


@dataclass(frozen=True)
class Progress:
    """`total` jobs, of which `kept` were done before; `done` and `failed` in this run; `running` the work that is done
    on the others, in pictures. `seconds` since it started. `ended` is the job that was just written, if one was.
    `waiting`: why no worker of a cluster has started yet, if none has for a while.
    """

    total: int
    kept: int
    done: int
    failed: int
    running: float
    seconds: float
    ended: Ended | None = None
    waiting: str = ""

    @property
    def an_hour(self) -> float:
        """Pictures an hour so far."""
        return 3600 * (self.done + self.running) / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to go at this pace; None before anything can be said."""
        pictures = self.total - self.kept - self.failed - self.done - self.running
        return 3600 * pictures / self.an_hour if self.an_hour else None


Callback = Callable[[Progress], None]


class Tally:
    """Counts what several threads report, and tells the callback, one call at a time."""

    def __init__(self, total: int, kept: int, callback: Callback | None) -> None:
        self.failures: list[tuple[str, str]] = []  # place of the job, and why
        self.done = 0
        self._total, self.kept, self._callback = total, kept, callback
        self._running: dict[int, float] = {}
        self._waiting = ""
        self._started = time.perf_counter()
        self._lock = threading.RLock()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def running(self, slot: int, pictures: float) -> None:
        """The work that a part has done, in pictures."""
        with self._lock:
            self._running[slot] = pictures
            self._tell(None)

    def waiting(self, why: str) -> None:
        """Why nobody works at present; "" when somebody does."""
        with self._lock:
            if why != self._waiting:
                self._waiting = why
                self._tell(None)

    def group_ended(self) -> None:
        """All parts have: their pictures count when they are written."""
        with self._lock:
            self._running.clear()

    def ended(self, ended: Ended) -> None:
        """A job's picture and line are written."""
        with self._lock:
            if ended.error is None:
                self.done += 1
            else:
                self.failures.append((ended.job.place, ended.error))
            self._tell(ended)

    def _tell(self, ended: Ended | None) -> None:
        if self._callback is not None:
            counts = (self._total, self.kept, self.done, len(self.failures), sum(self._running.values()))
            self._callback(Progress(*counts, self.seconds, ended, self._waiting))
