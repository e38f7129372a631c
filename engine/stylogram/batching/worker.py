"""The worker of a cluster: a process that holds networks, sessions and styles, and paints groups of jobs.

It writes nothing: pictures go back as the bytes of their files, so that one process alone, the driver, decides what is
done. A worker that was given up and still runs somewhere can do no harm.
"""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stylogram_export.network import Network

from .. import __version__, memory
from ..errors import Error
from ..tasks.stylize import Options
from .connection import one_line
from .jobs import Job
from .progress import Progress, Tally
from .runner import Runner
from .shared import Shared
from .writer import Ended, unwritten


@dataclass(frozen=True)
class Hello:
    """Who a worker is."""

    version: str
    name: str  # host/pid
    node: str
    pid: int


@dataclass(frozen=True)
class Made:
    """A job that ended, by its number in its group: the bytes of its picture's file, or what went wrong."""

    number: int
    data: bytes | None
    loss: float | None
    seconds: float
    error: str | None


@dataclass(frozen=True)
class News:
    """From a worker: the work that is done on its group, in pictures, and the job that has just ended, if one has."""

    running: float
    made: Made | None = None


class _Sent(Shared):
    """Networks come from the driver, by the name that the options have for them."""

    def __init__(self, room: float) -> None:
        super().__init__(room)
        self.sent: dict[str, Any] = {}

    def network(self, options: Options, pooling: str | None) -> Network:
        key = self.network_key(options, pooling)
        return self._networks.get(key, lambda: _fetched(self.sent[str(options.network)]))


def _fetched(reference: Any) -> Network:
    """Raises Error: the connection to who has it is gone, or this node cannot read it."""
    import ray

    try:
        network: Network = ray.get(reference)
    except Exception as problem:  # of Ray, or of what it has to import here
        raise Error(f"ray: the network did not reach {_name()}: {one_line(problem)}") from problem
    return network


def _name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


class _Events:
    """A sink that hands on what ends, and what the tally says meanwhile, at most once in `every` seconds."""

    def __init__(self, every: float) -> None:
        self.stopped = threading.Event()
        self._every, self._last = every, 0.0
        self._queue: queue.Queue[float | Ended | BaseException | None] = queue.Queue()

    def put(self, ended: Ended) -> None:
        self._queue.put(ended)

    def finish(self) -> None:
        """They are taken as they come."""

    def look(self, progress: Progress) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._queue.put(progress.running)

    def end(self, problem: BaseException | None = None) -> None:
        self._queue.put(problem)

    def __iter__(self) -> Iterator[float | Ended]:
        while (event := self._queue.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event


class Worker:
    """`threads`: processors that it may use. `neighbours`: workers on its machine, with which it shares the memory.
    `every`: seconds between two News.
    """

    def __init__(self, threads: int, neighbours: int, every: float) -> None:
        self._threads = threads
        self._free = memory.available() / neighbours
        self._shared = _Sent(memory.SHARE * self._free)
        self._every = every

    def hello(self) -> Hello:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return Hello(__version__, _name(), node, os.getpid())

    def paint(self, jobs: Sequence[Job], networks: dict[str, Any], batch: int | None) -> Iterator[News]:
        """Paint a group; `networks` are references to those that its options name. News as they come.

        Raises Error where a network does not come.
        """
        self._shared.sent = networks
        for job in jobs:
            self._shared.network(job.options, job.options.recipe().pooling)
        own = {"threads": self._threads}
        jobs = [replace(job, options=job.options.model_copy(update=own)) for job in jobs]
        events = _Events(self._every)
        thread = threading.Thread(target=self._run, args=(jobs, batch, events), name="stylogram-group", daemon=True)
        thread.start()
        running, numbers = 0.0, {id(job): number for number, job in enumerate(jobs)}
        for event in events:
            if isinstance(event, Ended):
                running = max(running - 1, 0)
                yield News(running, _made(event, numbers[id(event.job)]))
            else:
                yield News(running := event)

    def _run(self, jobs: Sequence[Job], batch: int | None, events: _Events) -> None:
        try:
            Runner(jobs, self._shared, batch, self._free, Tally(len(jobs), 0, events.look), events).run()
        except BaseException as problem:  # handed to the thread that tells
            events.end(problem)
        else:
            events.end()


def _made(ended: Ended, number: int) -> Made:
    try:
        return Made(number, ended.encoded(), ended.loss, ended.seconds, ended.error)
    except (Error, MemoryError) as problem:  # a size that the format cannot hold, or no memory for it
        return Made(number, None, None, ended.seconds, unwritten(problem))
