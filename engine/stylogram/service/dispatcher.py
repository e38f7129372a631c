"""The dispatcher: what clients ask for, between the board with its queue and the foreman with the worker.

After a crash of the server the jobs that were running begin again, stylize jobs from their last checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from . import schemas
from .board import Board
from .catalogue import network_files
from .foreman import Foreman
from .jobs import Job
from .live import Live, UnavailableError, Watcher
from .metrics import Metrics
from .settings import Settings


class Dispatcher:
    """One for each server. Its methods are safe from every thread."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises Error: the state directory cannot be used. Jobs of a server before go on where they can."""
        self.networks = network_files(settings)
        self.board = board = Board(settings, metrics)
        self.archive, self.store = board.archive, board.store
        self.foreman = Foreman(board, self.networks)
        metrics.watch(lambda: len(board.queue), lambda: len(board.running), self.foreman.resident)

    def start(self) -> None:
        """Begin to paint."""
        self.foreman.start()

    def submit(self, job: Job, data: dict[str, list[bytes]]) -> Job:
        """Accept a job with its pictures. Raises FullError, UnavailableError."""
        self.board.add(job, data)
        return job

    def check_room(self) -> None:
        """Raises FullError or UnavailableError where no further job is taken."""
        self.board.check_room()

    def refusal(self) -> UnavailableError | None:
        """Why no job is taken or painted, or None."""
        return self.board.refusal()

    def cancel(self, name: str) -> Job | None:
        """Stop a job that has not ended, or remove one that has. None: there is none.

        Raises sqlite3.Error where that cannot be written, and nothing has changed.
        """
        board = self.board
        with board.news:
            live = board.live.get(name)
            if live is None or live.job.ended:
                return board.remove(name)
            if name in board.queue:
                board.cancel(live)
            else:
                self.foreman.cancel(live)
            return live.job

    def describe(self, name: str) -> schemas.JobView | None:
        """A job as clients see it."""
        board = self.board
        with board.news:
            live = board.live.get(name)
            job = self.store.get(name) if live is None else live.job
            return None if job is None else board.view(job, live)

    def newest(self, count: int, before: int | None, state: str | None) -> tuple[list[schemas.JobView], int | None]:
        """Jobs, the newest first, and the number from which the next page goes on."""
        board = self.board
        found = self.store.newest(count, before, state)
        with board.news:
            views = [board.view(job if (live := board.live.get(job.id)) is None else live.job, live) for job in found]
        return views, found[-1].number if len(found) == count else None

    def preview(self, name: str) -> bytes | None:
        """The latest preview, JPEG."""
        with self.board.news:
            live = self.board.live.get(name)
            if live is not None and live.preview is not None:
                return live.preview
        try:
            return (self.archive.directory(name) / "preview.jpg").read_bytes()
        except OSError:
            return None

    @contextmanager
    def watching(self, name: str, watcher: Watcher) -> Iterator[Live | None]:
        """A job to be watched; None: there is none. One that has ended is read from the disk."""
        news = self.board.news
        with news:
            live = self.board.live.get(name)
            if live is None:
                job = self.store.get(name)
                live = None if job is None else Live(job, list(job.losses))
            else:
                live.watchers.add(watcher)
        try:
            yield live
        finally:
            with news:
                if live is not None:
                    live.watchers.discard(watcher)

    @property
    def counts(self) -> tuple[int, int]:
        """Jobs queued and running."""
        return len(self.board.queue), len(self.board.running)

    @property
    def stopping(self) -> bool:
        """No further job is taken or started."""
        return self.board.stopping

    def begin_stop(self) -> None:
        """No further job is taken or started; who watches is let go."""
        self.board.stopping = True
        self.board.tell_all()

    def stop(self) -> None:
        """Let running jobs finish for `grace` seconds, then keep them as far as they are; give the state back."""
        self.begin_stop()
        with self.board.news:
            self.board.news.notify_all()
        self.foreman.stop()
        self.board.close()
