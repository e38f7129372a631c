"""Jobs that have not ended, and who watches them."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import Error
from .jobs import Job, Row


class FullError(Error):
    """The queue is full; `seconds` until it may be worth to ask again."""

    def __init__(self, waiting: int, seconds: int) -> None:
        super().__init__(f"{waiting} jobs are waiting, as many as this server takes; try again in {seconds} s")
        self.seconds = seconds


class UnavailableError(Error):
    """No job is taken at present: the server is stopping (503), or its disk is full (507)."""

    def __init__(self, message: str, status: int = 503) -> None:
        super().__init__(message)
        self.status = status


class Watcher:
    """Somebody who is told that something about a job is new."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def tell(self) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)

    async def wait(self, seconds: float) -> bool:
        """Whether there was news before so many seconds had passed."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        self._news.clear()
        return True


@dataclass
class Live:
    """A job that has not ended, or that somebody watches: `rows` grow; `preview` is the latest, `previews` how many."""

    job: Job
    rows: list[Row] = field(default_factory=list)
    scales: tuple[int, int] = (0, 0)  # scales in all, iterations at this one
    seconds: float = 0.0
    preview: bytes | None = None
    previews: int = 0
    cancelling: bool = False
    deaths: int = 0
    watchers: set[Watcher] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """A row; those at its place or behind it are of an attempt before."""
        while self.rows and self.rows[-1][:2] >= row[:2]:
            self.rows.pop()
        self.rows.append(row)

    def goes_with(self, other: "Live") -> bool:
        """Whether the two may be painted together; checkpoints are at different places."""
        own, first = self.job, other.job
        alone = own.alone or first.alone
        return bool(own.kind) and own.kind == first.kind and own.checkpoint == first.checkpoint and not alone
