"""The foreman: the thread that gives groups of jobs to the worker, and hears what becomes of them.

A worker that dies takes no job with it: each of those it had is tried again alone, and fails when it is the death of a
second one. Whatever goes wrong in here, the group's jobs fail, and the next group is painted by another worker.
"""

import base64
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Error
from .board import Board
from .live import Live
from .process import Worker

log = logging.getLogger("stylogram.service")
DEATHS = 2  # of workers, with a job alone, after which it has failed
PATIENCE = 60.0  # seconds beyond its limit that a job may go without an iteration


class Foreman:
    """One for each board."""

    def __init__(self, board: Board, networks: Mapping[str, str]) -> None:
        """`networks`: what the name of each stands for."""
        self._board, self._settings, self._networks = board, board.settings, networks
        self.worker: Worker | None = None
        self._thread = threading.Thread(target=self._serve, name="stylogram-foreman", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self, live: Live) -> None:
        """Of a job that is painted, or about to be."""
        if self.worker is not None and not live.cancelling:  # once, however often it is asked for
            self.worker.say(cancel=live.job.id)
        live.cancelling = True

    def resident(self) -> float:
        """Bytes of memory that the worker has."""
        return 0 if self.worker is None else self.worker.resident()

    def stop(self) -> None:
        """Let running jobs finish for `grace` seconds, then keep them as far as they are."""
        if self._thread.ident is None:
            return
        self._thread.join(self._settings.grace)
        if self._thread.is_alive() and self.worker is not None:
            self.worker.say(stop=True)
            self._thread.join(PATIENCE)
        if self.worker is not None:
            self.worker.end()
        self._thread.join(PATIENCE)

    # In the thread

    def _serve(self) -> None:
        while not self._board.stopping:
            try:
                group = self._board.take()
                if group:
                    self._try(group)
            except Exception:
                log.exception("the foreman has a fault")
                time.sleep(1.0)  # if it is going to be the same again, then not at full speed

    def _try(self, group: list[Live]) -> None:
        try:
            self._paint(group)
        except Exception as problem:
            log.exception("painting failed")
            worker, self.worker = self.worker, None  # nobody knows what it does now: the next group gets another
            if worker is not None:
                worker.kill()
                worker.end()
            fault = f"the server has a fault: {type(problem).__name__}; its log says more"
            self._finish(group, str(problem) if isinstance(problem, Error) else fault)

    def _paint(self, group: list[Live]) -> None:
        """Until all of a group have ended, or wait again."""
        board = self._board
        board.metrics.together.observe(len(group))
        worker = self.worker or Worker(self._settings)
        with board.news:
            self.worker = worker
            worker.say(run=[self._told(live) for live in group])
            for live in group:
                if live.cancelling:
                    worker.say(cancel=live.job.id)
            if board.stopping:
                worker.say(stop=True)
            board.tell_all()
        watchdog = threading.Timer(self._settings.max_seconds * len(group) + PATIENCE, worker.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            finished = self._listen(worker)
        finally:
            watchdog.cancel()
        if not finished:
            self._died(group, worker)
        self._finish(group, "the worker did not say how it ended, which is a fault; the server's log says more")
        board.prune()

    def _listen(self, worker: Worker) -> bool:
        """Until the worker has nothing to do, or is dead: False. Raises Error: there is no such device any more."""
        for message in worker.heard():
            if message["event"] == "idle":
                return True
            if message["event"] == "refused":
                raise Error(message["error"])
            if "job" in message:
                self._hear(message)
        return False

    def _finish(self, group: list[Live], why: str) -> None:
        """No job of a group stays "running"."""
        board = self._board
        with board.news:
            for live in group:
                if live.job.state == "running":
                    board.end(live, "failed", why)
            board.running = []
            board.news.notify_all()

    def _told(self, live: Live) -> dict[str, Any]:
        job, archive = live.job, self._board.archive
        options = dict(job.options)
        if "network" in options:
            options["network"] = self._networks.get(options["network"], options["network"])
        paths = {name: [str(archive.uploads.path(one)) for one in own] for name, own in job.pictures.items()}
        return {"id": job.id, "task": job.task, "options": options, "pictures": paths, "format": job.format,
                "checkpoint": job.checkpoint, "directory": str(archive.directory(job.id))}  # fmt: skip

    def _hear(self, message: dict[str, Any]) -> None:
        with self._board.news:
            live = self._board.live.get(message["job"])
            if live is None or live.job.state != "running":
                return
            _HEARD[message["event"]](self, live, message)
            self._board.tell(live)

    def _progress(self, live: Live, message: dict[str, Any]) -> None:
        if math.isfinite(message["loss"]):
            live.add((message["scale"], message["iteration"], message["seconds"], message["loss"]))
        live.scales, live.seconds = (message["scales"], message["iterations"]), message["seconds"]
        self._board.metrics.iterations.inc()

    def _previewed(self, live: Live, message: dict[str, Any]) -> None:
        live.preview = base64.b64decode(message["jpeg"])
        live.previews += 1

    def _kept(self, live: Live, message: dict[str, Any]) -> None:
        if message["checkpoint"] is not None:
            live.job.checkpoint, live.job.losses = message["checkpoint"], list(live.rows)
            self._board.save(live)

    def _ended(self, live: Live, message: dict[str, Any]) -> None:
        if message["state"] == "stopped" and not live.cancelling:
            live.job.attempts -= 1  # of our own will
            if message["checkpoint"] is None:
                live.rows.clear()
            self._kept(live, message)
            self._board.again(live)
            return
        size = message.get("size")
        live.job.size = (size[0], size[1]) if size else None
        live.job.notes = message.get("notes", [])
        state = "cancelled" if message["state"] == "stopped" else message["state"]
        self._board.end(live, state, message.get("error"))

    def _died(self, group: list[Live], worker: Worker) -> None:
        """The worker is gone. What it had is tried again, alone; the second death with a job alone is that job's."""
        how = worker.end()
        board = self._board
        board.metrics.restarts.inc()
        log.warning("the worker died: %s", how)
        with board.news:
            self.worker = None
            for live in group:
                if live.job.state != "running":
                    continue
                live.deaths += len(group) == 1
                if live.cancelling:
                    board.end(live, "cancelled")
                elif live.deaths >= DEATHS:
                    died = f"the worker died with it {DEATHS} times ({how}); a smaller size takes less"
                    board.end(live, "failed", died)
                else:
                    live.job.alone = True
                    board.again(live)


_HEARD: dict[str, Callable[[Foreman, Live, dict[str, Any]], None]] = {
    "before": lambda *_: None,  # there is a picture to compare with, which whoever watches is told
    "progress": Foreman._progress,
    "preview": Foreman._previewed,
    "checkpoint": Foreman._kept,
    "ended": Foreman._ended,
}
