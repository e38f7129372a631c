"""Encoding and writing what was painted, in a thread of its own, and the line of each job in the ledger."""

import errno
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import Error
from ..result import Result
from .jobs import Job
from .ledger import Ledger

# What stops a batch: the next output would meet it too.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Ended:
    """A job that ended, with its picture or with what went wrong."""

    job: Job
    result: Result | None
    loss: float | None
    seconds: float
    error: str | None = None


class Writer:
    """Takes jobs that ended; `told` is called for each when its picture and its line are on the disk.

    `stopped` is set, and `problem` says why, when nothing more can be written.
    """

    def __init__(self, ledger: Ledger, told: Callable[[Ended], None], depth: int) -> None:
        self.stopped = threading.Event()
        self.problem: BaseException | None = None
        self._ledger, self._told = ledger, told
        self._root = os.path.realpath(ledger.directory)
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
            while (ended := self._queue.get()) is not None:
                self._end(ended)
        except BaseException as problem:  # handed to the thread that waits for it
            self.problem = problem
            self.stopped.set()

    def _end(self, ended: Ended) -> None:
        if ended.result is not None:
            try:
                self._save(ended.job, ended.result)
            except Error as problem:
                cause = problem.__cause__
                if isinstance(cause, OSError) and cause.errno in FULL:
                    raise
                ended = Ended(ended.job, None, None, ended.seconds, str(problem))
        self._ledger.add(ended.job, ended.loss, ended.seconds, ended.error)
        self._told(ended)

    def _save(self, job: Job, result: Result) -> None:
        path = Path(self._root, job.output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Error(f"{path.parent} cannot be made: {problem.strerror}") from problem
        where = os.path.realpath(path)
        if os.path.commonpath([where, self._root]) != self._root:
            raise Error(f"output: {job.output!r} leads outside by a link; accepted: a file below the batch's directory")
        result.save(path)
