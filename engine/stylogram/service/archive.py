"""What is on the disk: jobs in the store, their uploads, and a directory for what each has made."""

import shutil
import sqlite3
from pathlib import Path

from ..errors import Error
from ..files import reason
from .jobs import Job
from .live import UnavailableError
from .settings import Settings
from .store import Store
from .uploads import Uploads


class Archive:
    """Of one state directory. Its callers hold a lock: an upload must not go while a job with it comes."""

    def __init__(self, settings: Settings) -> None:
        """Raises Error: the state directory cannot be used."""
        self.store = Store(settings.state)
        self._state, self._jobs = settings.state, settings.state / "jobs"
        try:
            self.uploads = Uploads(settings.state / "uploads")
            self._jobs.mkdir(exist_ok=True)
        except OSError as problem:
            self.store.close()
            raise Error(
                f"state: {self._state} cannot be written: {reason(problem)}; a disk with room is accepted"
            ) from None

    def directory(self, name: str) -> Path:
        """Where a job's pictures are."""
        return self._jobs / name

    def free(self) -> int:
        """Bytes of disk."""
        return shutil.disk_usage(self._state).free

    def add(self, job: Job, data: dict[str, list[bytes]]) -> None:
        """A new job with its pictures: all of it, or UnavailableError and nothing."""
        try:
            for name, own in data.items():
                job.pictures[name] = [self.uploads.put(one) for one in own]
            self.store.add(job)
        except (sqlite3.Error, Error) as problem:
            self._forget(job)
            raise UnavailableError(f"the job cannot be kept: {problem}; nothing was accepted", 507) from None

    def remove(self, name: str) -> Job | None:
        """A job and all that is only its; None: there is none."""
        job = self.store.get(name)
        if job is not None:
            self.store.remove(name)
            shutil.rmtree(self.directory(name), ignore_errors=True)
            self._forget(job)
        return job

    def _forget(self, job: Job) -> None:
        """Remove the uploads of a job that no other has."""
        for name in {one for own in job.pictures.values() for one in own} - self.store.uploads():
            self.uploads.path(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a crash has left: uploads and directories of no job."""
        self.uploads.sweep(self.store.uploads())
        known = self.store.ids()
        for path in self._jobs.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)
