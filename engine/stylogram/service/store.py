"""Jobs in SQLite: what was accepted and what has ended is on the disk before anybody is told.

One server owns a state directory: a lock on a file in it says so, and dies with the process.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from ..errors import Error
from ..files import reason
from .jobs import ENDED, Job

VERSION = 1
_JSON = ("options", "pictures", "notes", "size", "losses", "checkpoint")
_COLUMNS = tuple(field.name for field in fields(Job) if field.name != "number")
_BRIEF = tuple(name for name in _COLUMNS if name != "losses")
_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, options TEXT NOT NULL,
    pictures TEXT NOT NULL, format TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
    started REAL, finished REAL, error TEXT, notes TEXT NOT NULL, size TEXT, losses TEXT NOT NULL, checkpoint TEXT,
    attempts INTEGER NOT NULL, alone INTEGER NOT NULL);
CREATE INDEX by_state ON jobs (state, number);
"""


class Store:
    """The table of jobs. Safe from every thread."""

    def __init__(self, directory: Path) -> None:
        """Raises Error: a directory that cannot be written, of another server that runs, or of another version."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._owner = _own(directory)
        except OSError as problem:
            raise Error(f"state: {directory} cannot be written: {reason(problem)}; a directory is accepted") from None
        self._lock = threading.RLock()
        path = directory / "jobs.sqlite"
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._make(path)
        except (sqlite3.Error, Error) as problem:
            self.close()
            if isinstance(problem, Error):
                raise
            raise Error(f"state: {path} cannot be used: {problem}; another directory is accepted") from None

    def _make(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise Error(f"state: {path} is of version {version}; accepted: {VERSION}, or another directory")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    def close(self) -> None:
        """Give the directory back."""
        with self._lock:
            self._db.close()
            self._owner.close()

    def add(self, job: Job) -> None:
        """A new job; it gets its number."""
        marks = ", ".join("?" * len(_COLUMNS))
        with self._lock:
            made = self._db.execute(f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({marks})", _values(job))
            job.number = made.lastrowid or 0

    def save(self, job: Job) -> None:
        """What has become of a job."""
        marks = ", ".join(f"{name} = ?" for name in _COLUMNS)
        with self._lock:
            self._db.execute(f"UPDATE jobs SET {marks} WHERE id = ?", (*_values(job), job.id))

    def get(self, name: str) -> Job | None:
        """A job by its id."""
        return next(self._read(_COLUMNS, "WHERE id = ?", (name,)), None)

    def waiting(self) -> list[Job]:
        """Jobs that have not ended, in their order."""
        return list(self._read(_COLUMNS, "WHERE state IN ('queued', 'running') ORDER BY number"))

    def newest(self, count: int, before: int | None = None, state: str | None = None) -> list[Job]:
        """Jobs without their losses, the newest first."""
        where = "WHERE number < ? AND (? IS NULL OR state = ?) ORDER BY number DESC LIMIT ?"
        return list(self._read(_BRIEF, where, (before or 2**62, state, state, count)))

    def surplus(self, keep: int) -> list[str]:
        """The ids of ended jobs but the `keep` newest."""
        marks = ", ".join("?" * len(ENDED))
        query = f"SELECT id FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT -1 OFFSET ?"
        with self._lock:
            return [name for (name,) in self._db.execute(query, (*ENDED, keep))]

    def remove(self, name: str) -> None:
        """Forget a job."""
        with self._lock:
            self._db.execute("DELETE FROM jobs WHERE id = ?", (name,))

    def ids(self) -> set[str]:
        """Of all jobs."""
        with self._lock:
            return {name for (name,) in self._db.execute("SELECT id FROM jobs")}

    def uploads(self) -> set[str]:
        """The uploads that some job needs."""
        with self._lock:
            rows = self._db.execute("SELECT pictures FROM jobs").fetchall()
        return {name for (text,) in rows for names in json.loads(text).values() for name in names}

    def _read(self, columns: tuple[str, ...], where: str, given: tuple[Any, ...] = ()) -> Iterator[Job]:
        with self._lock:
            rows = self._db.execute(f"SELECT number, {', '.join(columns)} FROM jobs {where}", given).fetchall()
        for number, *values in rows:
            yield _job(number, dict(zip(columns, values, strict=True)))


def _own(directory: Path) -> IO[str]:
    """The lock file, held. Raises Error if another process has it."""
    file = open(directory / "lock", "a+", encoding="utf-8")  # noqa: SIM115 -- held as long as the server lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "unknown"
        file.close()
        raise Error(f"state: {directory} is in use by another server (process {who}); accepted: another one") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _values(job: Job) -> list[Any]:
    values = asdict(job)
    return [json.dumps(values[name]) if name in _JSON else values[name] for name in _COLUMNS]


def _job(number: int, values: dict[str, Any]) -> Job:
    for name in _JSON:
        if name in values and values[name] is not None:
            values[name] = json.loads(values[name])
    size, losses = values.get("size"), values.get("losses", [])
    values |= {"size": tuple(size) if size else None, "losses": [tuple(row) for row in losses]}
    return Job(**{**values, "alone": bool(values["alone"]), "number": number})
