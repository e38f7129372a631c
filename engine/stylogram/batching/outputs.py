"""Where a batch's pictures go: a directory of this machine, or a URL that fsspec knows."""

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .. import remote, zoo
from ..errors import Error
from ..files import atomic, reason
from .jobs import Job, anchored

NAME = "results.jsonl"


class Outputs(Protocol):
    """`name` is how messages call it; `ledger` the file of this machine that a line is added to for each job."""

    name: str
    ledger: Path

    @property
    def results(self) -> str | Path:
        """Where users find the ledger's lines."""

    def prepare(self) -> None:
        """Make it ready to be written to. Raises Error where it cannot be."""

    def has(self, output: str) -> bool:
        """Whether there is a file of that name."""

    def save(self, output: str, data: bytes) -> None:
        """Write a file, whole or not at all. Raises Error."""

    def sweep(self, jobs: Iterable[Job]) -> None:
        """Remove what a killed process left of these jobs' outputs."""

    def read_by(self, job: Job) -> bool:
        """Whether the job's output is one of its own inputs."""

    def earlier(self) -> bytes:
        """The ledger's lines that were published before. Raises Error."""

    def publish(self) -> None:
        """Put the ledger where users find it. Raises Error."""


def outputs(path: str | Path) -> Outputs:
    """By what `path` is."""
    where = anchored(path)
    return Bucket(where) if remote.is_url(where) else Directory(Path(remote.plain(os.fspath(path))))


class Directory:
    """A directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path
        self.ledger = path / NAME
        self.results: str | Path = self.ledger
        self._root = os.path.realpath(path)

    def prepare(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Error(f"{self.ledger} cannot be written: {reason(problem)}; accepted: a writable directory") from None

    def has(self, output: str) -> bool:
        return os.path.isfile(self._path / output)  # Path.is_file() raises where a path is too long or not to be seen

    def save(self, output: str, data: bytes) -> None:
        path = Path(self._root, output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Error(f"{path.parent} cannot be made: {problem.strerror}") from problem
        where = os.path.realpath(path)
        if os.path.commonpath([where, self._root]) != self._root:
            raise Error(f"output: {output!r} leads outside by a link; accepted: a file below the batch's directory")
        with atomic(path) as file:
            file.write(data)

    def sweep(self, jobs: Iterable[Job]) -> None:
        names: dict[str, set[str]] = {}
        for job in jobs:
            folder, name = os.path.split(job.output)
            names.setdefault(folder, set()).add(name[:40])
        for folder, own in names.items():
            where = self._path / folder
            with suppress(OSError):  # there is no such folder; if it cannot be written to, its jobs will say so
                for found in os.listdir(where):
                    match = _HIDDEN.fullmatch(found)
                    if match and match[1] in own:
                        (where / found).unlink(missing_ok=True)

    def read_by(self, job: Job) -> bool:
        output = self._path / job.output
        return any(_same(output, path) for path in job.inputs)

    def earlier(self) -> bytes:
        return b""  # the ledger is in the directory already

    def publish(self) -> None:
        """It is."""


def _same(path: Path, other: str) -> bool:
    """Whether both are there, and one file."""
    with suppress(OSError):
        return os.path.samefile(path, other)
    return False


_HIDDEN = re.compile(r"\.(.{1,40})\.[0-9a-f]{12}", re.DOTALL)  # files.atomic's


class Bucket:
    """A place that fsspec writes to.

    Such a place takes no appending: the ledger is kept in this machine's cache and copied there. Lines that only the
    copy has are taken over, so that another machine can go on.
    """

    def __init__(self, url: str) -> None:
        self.name, self._url = url, url.rstrip("/")
        self.results: str | Path = f"{self._url}/{NAME}"
        own = hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self.ledger = zoo.cache_directory() / "batches" / f"{own}.jsonl"
        self._there: set[str] = set()

    def prepare(self) -> None:
        self._there = set(remote.listed(self._url))
        try:
            self.ledger.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Error(f"{self.ledger} cannot be written: {reason(problem)}; accepted: a writable cache") from None

    def has(self, output: str) -> bool:
        return output in self._there

    def save(self, output: str, data: bytes) -> None:
        remote.write(f"{self._url}/{output}", data)
        self._there.add(output)

    def sweep(self, jobs: Iterable[Job]) -> None:
        """Nothing is written under another name."""

    def read_by(self, job: Job) -> bool:
        return f"{self._url}/{job.output}" in job.inputs

    def earlier(self) -> bytes:
        return remote.read(str(self.results)) if NAME in self._there else b""

    def publish(self) -> None:
        remote.write(str(self.results), self.ledger.read_bytes())
