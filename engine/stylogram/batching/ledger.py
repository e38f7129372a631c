"""The ledger: DIR/results.jsonl, a line for each job that ended, on the disk before the next one counts as done.

A job is done if its last good line has the same digest and its output is there. So a batch that was killed goes on with
what is missing: the picture is renamed into place first, the line follows; a line cut short is taken off.
"""

import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..errors import Error
from ..files import reason
from .jobs import Job

NAME = "results.jsonl"


class Ledger:
    """Open for one process at a time. `done` are the digests by output."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("a+b")
        except OSError as problem:
            raise Error(f"{self.path} cannot be written: {reason(problem)}; accepted: a writable directory") from None
        try:
            self._lock()
            self._done = self._read()
        except BaseException:
            self._file.close()
            raise

    def has(self, job: Job) -> bool:
        """Whether a job is done."""
        return self._done.get(job.output) == job.digest and (self.directory / job.output).is_file()

    def add(self, job: Job, loss: float | None, seconds: float, error: str | None) -> None:
        """A line for a job that ended. Raises Error when the system does not take it."""
        row = {
            "output": job.output,
            "content": job.content,
            "style": list(job.styles),
            "loss": loss,
            "seconds": round(seconds, 3),
            "error": error,
            "job": job.digest,
        }
        try:
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise Error(f"{self.path} cannot be written: {reason(problem)}") from problem
        if error is None:
            self._done[job.output] = job.digest

    def close(self) -> None:
        with suppress(OSError):  # a line that the full disk did not take is flushed once more
            self._file.close()

    def sweep(self, jobs: Iterable[Job]) -> None:
        """Remove what a killed process left of outputs half-written: files.atomic's hidden files."""
        names: dict[str, set[str]] = {}
        for job in jobs:
            folder, name = os.path.split(job.output)
            names.setdefault(folder, set()).add(name[:40])
        for folder, own in names.items():
            where = self.directory / folder
            for found in os.listdir(where) if where.is_dir() else ():
                match = _HIDDEN.fullmatch(found)
                if match and match[1] in own:
                    (where / found).unlink(missing_ok=True)

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
                raise Error(f"{self.path}, line {number} is none of a batch's; accepted: another directory")
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
            raise Error(f"{self.directory}: another batch is writing there; accepted: a directory of its own") from None


_HIDDEN = re.compile(r"\.(.{1,40})\.[0-9a-f]{12}", re.DOTALL)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"output", "job"} <= row.keys() else None
