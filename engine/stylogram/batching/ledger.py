"""The ledger: results.jsonl, a line for each job that ended, on the disk before the next one counts as done.

A job is done if its last good line has the same digest and its output is there. So a batch that was killed goes on with
what is missing: the picture is in its place first, the line follows; a line cut short is taken off.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..errors import Error
from ..files import reason
from .jobs import Job
from .outputs import Outputs

EVERY = 30.0  # seconds between two copies of the ledger to a URL


class Ledger:
    """Open for one process at a time."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self._published, self._unpublished = 0.0, False
        outputs.prepare()
        self._path: Path = outputs.ledger
        try:
            self._file: IO[bytes] = self._path.open("a+b")
        except OSError as problem:
            raise Error(f"{self._path} cannot be written: {reason(problem)}; accepted: a writable directory") from None
        try:
            self._lock()
            self._take_over(outputs.earlier())
            self._done = self._read()
            self._publish()
        except BaseException:
            self._file.close()
            raise

    def has(self, job: Job) -> bool:
        """Whether a job is done."""
        return self._done.get(job.output) == job.digest and self.outputs.has(job.output)

    def add(self, job: Job, loss: float | None, seconds: float, error: str | None, worker: str | None = None) -> None:
        """A line for a job that ended; `worker`: who made it, if not this process. Raises Error where it is refused."""
        row = {
            "output": job.output,
            "content": job.content,
            "style": list(job.styles),
            "loss": loss,
            "seconds": round(seconds, 3),
            "error": error,
            "job": job.digest,
        }
        if worker is not None:
            row["worker"] = worker
        try:
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise Error(f"{self._path} cannot be written: {reason(problem)}") from problem
        if error is None:
            self._done[job.output] = job.digest
        self._unpublished = True
        self.copy()

    def copy(self) -> None:
        """Copy what is new to the URL, if the last time is EVERY seconds ago."""
        if self._unpublished and time.monotonic() - self._published >= EVERY:
            with suppress(Error):  # a connection that is away for a moment; what matters is here
                self._publish()

    def close(self) -> None:
        """Raises Error where the last lines cannot be copied to the URL that the pictures go to."""
        with suppress(OSError):  # a line that the full disk did not take is flushed once more
            self._file.close()
        self._publish()

    def _publish(self) -> None:
        self._published = time.monotonic()
        self.outputs.publish()
        self._unpublished = False

    def _take_over(self, published: bytes) -> None:
        """Add the lines that another machine has written."""
        if not published:
            return
        whole = published[: published.rfind(b"\n") + 1].splitlines()
        if any(_entry(line) is None for line in whole):
            raise Error(f"{self.outputs.results} has lines that are none of a batch's; accepted: another output")
        self._file.seek(0)
        own = self._file.read()
        if not own.endswith(b"\n"):
            self._file.truncate(own.rfind(b"\n") + 1)
        known = set(own.splitlines())
        self._file.writelines(line + b"\n" for line in whole if line not in known)
        self._file.flush()

    def _read(self) -> dict[str, str]:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        done: dict[str, str] = {}
        for number, line in enumerate(data[:whole].splitlines(), 1):
            row = _entry(line)
            if row is None:
                raise Error(f"{self._path}, line {number} is none of a batch's; accepted: another directory")
            if row.get("error") is None:
                done[str(row["output"])] = str(row["job"])
        return done

    def _lock(self) -> None:
        """For this process alone, until it ends, however it ends."""
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            name = self.outputs.name
            raise Error(f"{name}: another batch is writing there; accepted: a directory of its own") from None


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"output", "job"} <= row.keys() else None
