"""Encoding and writing what was painted, in a thread of its own, and the line of each job in the ledger."""

import errno
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from .. import pictures
from ..errors import Error
from ..result import Result
from .jobs import Job
from .ledger import Ledger

IDLE = 1.0  # seconds until the ledger may be copied when nothing comes
# What stops a batch: the next output would meet it too.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Ended:
    """A job that ended, with its picture or with what went wrong.

    On a cluster the picture is `data`, the bytes of its file, and `worker` says who made it.
    """

    job: Job
    result: Result | None
    loss: float | None
    seconds: float
    error: str | None = None
    data: bytes | None = None
    worker: str | None = None

    def encoded(self) -> bytes | None:
        """The bytes of the picture's file, None without a picture. Raises Error where its format cannot hold it."""
        if self.data is not None or self.result is None:
            return self.data
        return pictures.encoded(self.job.output, self.result.exact, self.result.alpha, self.result.depth)


class Sink(Protocol):
    """Takes jobs that ended; `stopped` is set when it takes no more."""

    stopped: threading.Event

    def put(self, ended: Ended) -> None:
        """Take one; waits while there are too many."""

    def finish(self) -> None:
        """Wait until all are taken care of. Raises what stopped it, if something did."""


class Writer:
    """Takes jobs that ended; `told` is called for each when its picture and its line are on the disk.

    `stopped` is set, and `problem` says why, when nothing more can be written.
    """

    def __init__(self, ledger: Ledger, told: Callable[[Ended], None], depth: int) -> None:
        self.stopped = threading.Event()
        self.problem: BaseException | None = None
        self._ledger, self._told = ledger, told
        self._queue: queue.Queue[Ended | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._work, name="stylogram-writer", daemon=True)
        self._thread.start()

    def put(self, ended: Ended) -> None:
        """Waits while the queue is full. Does nothing once it has stopped."""
        while not self.stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(ended, timeout=0.2)
                break

    def finish(self) -> None:
        """Wait until everything is written. Raises what stopped it, if something did."""
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(None, timeout=0.2)
                break
        self._thread.join()
        if self.problem is not None:
            raise self.problem

    def _work(self) -> None:
        try:
            while (ended := self._next()) is not None:
                self._end(ended)
        except BaseException as problem:  # handed to the thread that waits for it
            self.problem = problem
            self.stopped.set()

    def _next(self) -> Ended | None:
        """The next that ended; None when no more comes."""
        while True:
            try:
                return self._queue.get(timeout=IDLE)
            except queue.Empty:
                self._ledger.copy()

    def _end(self, ended: Ended) -> None:
        try:
            data = ended.encoded()
            if data is not None:
                self._ledger.outputs.save(ended.job.output, data)
        except (Error, MemoryError, OSError) as problem:
            cause = problem.__cause__ if isinstance(problem, Error) else problem
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise
            ended = replace(ended, result=None, loss=None, error=unwritten(problem), data=None)
        self._ledger.add(ended.job, ended.loss, ended.seconds, ended.error, ended.worker)
        self._told(ended)


def unwritten(problem: BaseException) -> str:
    """Why a picture's file could not be made."""
    return "not enough memory to encode it" if isinstance(problem, MemoryError) else str(problem)
