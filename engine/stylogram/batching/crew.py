"""The crew: workers on the nodes of a Ray cluster, as many as there is room for; lost ones are replaced."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .. import __version__, memory
from ..errors import Error
from .jobs import Job
from .worker import Hello, News, Worker

NEWS = 0.5  # seconds between two of a worker
LOOK = 2.0  # seconds between two looks at the nodes
WAIT = 0.5  # seconds at most until Ctrl-C and a full disk are noticed
SAY = 30.0  # seconds without a worker until it is said why
PATIENCE = 300.0  # seconds that a cluster may be without a node for a worker, when it has lost them
TO_COME = 900.0  # and when workers were asked for: nodes that come when they are asked for take their time
IN_VAIN = 20  # workers, or five times the crew, that may be lost in a row with no job ended


@dataclass(frozen=True)
class Room:
    """What a worker takes, `cpus` and `gpus`, and how many the cluster has room for, `most` of them on one node."""

    cpus: int
    gpus: int
    workers: int
    most: int


def room(nodes: Sequence[dict[str, Any]], threads: int, gpu: bool) -> Room:
    """Of Ray's table of nodes. A worker takes `threads` processors; if 0 or too many, all that the smallest node has.

    With `gpu` a worker takes one GPU, and nodes without are left out. More than memory.MOST processors are never taken:
    so many pictures go together.
    """
    have = [
        (int(found.get("CPU", 0)), int(found.get("GPU", 0)))
        for node in nodes
        if node["Alive"] and (found := node["Resources"])
    ]
    have = [(cpus, gpus) for cpus, gpus in have if cpus and (gpus or not gpu)]
    shares = [max(cpus // gpus, 1) if gpu else cpus for cpus, gpus in have]
    share = threads if 0 < threads <= max(shares, default=0) else min(shares, default=1)
    share = min(share, memory.MOST)
    workers = [min(gpus, cpus // share) if gpu else cpus // share for cpus, gpus in have]
    return Room(share, int(gpu), sum(workers), max(workers, default=0))


@dataclass(eq=False)
class Hand:
    """A worker as the driver sees it. `next` is what is waited for: its hello, or the stream of its group's news."""

    number: int
    actor: Any
    next: Any
    cpus: int = 1
    hello: Hello | None = None
    jobs: dict[int, Job] = field(default_factory=dict)  # of its group, those that have not ended
    idle: bool = False


@dataclass(frozen=True)
class Lost:
    """A worker, or the node that it was on, is gone; `how` is Ray's name for it."""

    how: str


class Crew:
    """`ray`: Ray's module, connected. `asked`: how many workers, None for as many as there is room for."""

    def __init__(self, ray: Any, asked: int | None, threads: int, gpu: bool) -> None:
        self._ray, self._asked, self._threads, self._gpu = ray, asked, threads, gpu
        self._hands: list[Hand] = []
        self._started = self._vain = self._largest = 0
        self._looked = -LOOK
        self._bare_since: float | None = None
        self._alone_since: float | None = None
        self._room = Room(1, 0, 0, 0)
        #: why no worker has started, if none has for a while
        self.waiting = ""

    @property
    def size(self) -> int:
        """Workers that there are, or will be."""
        return max(len(self._hands), 1)

    def staff(self, wanted: int) -> None:
        """Start workers where there is room, at most `wanted`. Raises Error where there can be none."""
        if time.monotonic() - self._looked < LOOK and self._hands:
            return
        self._looked = time.monotonic()
        self._room = room(self._ray.nodes(), self._threads, self._gpu)
        count = min(self._asked or self._room.workers, wanted)
        self._check_room()
        self._look_at_waiting()
        starting = [hand for hand in self._hands if hand.hello is None]
        too_many = starting[: max(len(self._hands) - count, 0)]  # a node has gone before they began
        for hand in starting:
            if hand in too_many or (self._room.workers and hand.cpus > self._room.cpus):
                self._end(hand)
        while len(self._hands) < count:
            self._hands.append(self._start())
        self._largest = max(self._largest, len(self._hands))

    def _check_room(self) -> None:
        """Raises Error without a node, unless one may come: workers were asked for, or there were nodes before."""
        if self._room.workers or any(hand.hello for hand in self._hands):
            self._bare_since = None
            return
        now = time.monotonic()
        self._bare_since = self._bare_since or now
        if now - self._bare_since > self._patience:
            had = f", and had none for {self._patience:g} s" if self._patience > 0 else ""
            accepted = "a cluster that has" if self._asked else "--workers N, for nodes that are to come"
            raise Error(f"ray: the cluster has no {self._what} for a worker{had}; accepted: {accepted}")

    def _look_at_waiting(self) -> None:
        """Say why, if no worker has started for a while."""
        now = time.monotonic()
        if not self._hands or any(hand.hello for hand in self._hands):
            self._alone_since, self.waiting = None, ""
            return
        self._alone_since = self._alone_since or now
        if now - self._alone_since <= SAY:
            return
        if not self._room.workers:
            until = f"a node is waited for, {self._patience:g} s at most"
            self.waiting = f"the cluster has no {self._what} for a worker; {until}"
            return
        key, takes = ("GPU", 1) if self._gpu else ("CPU", self._hands[0].cpus)
        free, whole = (have().get(key, 0) for have in (self._ray.available_resources, self._ray.cluster_resources))
        all_ = f"{takes} of the cluster's {whole:g} {self._what}s"
        self.waiting = f"no worker has started: each takes {all_}, {free:g} of them free"

    @property
    def _patience(self) -> float:
        """Seconds that may pass without a node."""
        if self._asked:
            return TO_COME
        return PATIENCE if self._largest else -1.0

    @property
    def _what(self) -> str:
        return "GPU" if self._gpu else "processor"

    def idle(self) -> list[Hand]:
        """Workers that wait for a group."""
        return [hand for hand in self._hands if hand.idle]

    def give(
        self, hand: Hand, jobs: Sequence[Job], sent: Sequence[Job], networks: dict[str, Any], batch: int | None
    ) -> None:
        """Hand it a group: `jobs`, as they are `sent`."""
        hand.idle, hand.jobs = False, dict(enumerate(jobs))
        hand.next = hand.actor.paint.options(num_returns="streaming").remote(list(sent), networks, batch)

    def news(self) -> list[tuple[Hand, News | Lost]]:
        """What has come from the workers, or that one is lost; waits for a moment. Raises Error: none can start."""
        by_stream = {hand.next: hand for hand in self._hands if not hand.idle}
        if not by_stream:
            time.sleep(WAIT)
            return []
        streams = list(by_stream)
        ready, rest = self._ray.wait(streams, num_returns=1, timeout=WAIT, fetch_local=False)
        if rest:  # those that have come meanwhile, too
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)[0]
        found: list[tuple[Hand, News | Lost]] = []
        for stream in ready:
            hand = by_stream[stream]
            try:
                if (news := self._from(hand)) is not None:
                    found.append((hand, news))
            except self._ray.exceptions.RayTaskError:  # a mistake in the worker's own code, as it would be raised here
                raise
            except self._ray.exceptions.RayError as problem:
                found.append((hand, self._lose(hand, problem)))
        return found

    def close(self) -> None:
        """End all workers."""
        for hand in list(self._hands):
            self._end(hand)

    def _from(self, hand: Hand) -> News | None:
        if hand.hello is None:
            hand.hello = self._ray.get(hand.next)
            if hand.hello.version != __version__:
                where = f"{hand.hello.name} has stylogram {hand.hello.version}"
                raise Error(f"ray: {where}, here is {__version__}; accepted: the same on every node")
            hand.idle = True
            return None
        try:
            news: News = self._ray.get(next(hand.next))
        except StopIteration:
            hand.idle = True
            return News(0.0)
        self._vain = 0 if news.made is not None else self._vain
        return news

    def _start(self) -> Hand:
        self._started += 1
        resources = {"num_cpus": self._room.cpus, "num_gpus": self._room.gpus}
        made = self._ray.remote(Worker).options(max_restarts=0, **resources)
        actor = made.remote(self._room.cpus, max(self._room.most, 1), NEWS)
        return Hand(self._started, actor, actor.hello.remote(), self._room.cpus)

    def _lose(self, hand: Hand, problem: Any) -> Lost:
        if getattr(problem, "actor_init_failed", False):
            said = str(problem).strip().splitlines()[-1]
            raise Error(f"ray: a worker cannot start: {said[:300]}; every node needs stylogram[ray] of this version")
        self._end(hand)
        self._looked = -LOOK
        self._vain += 1
        if self._vain >= max(IN_VAIN, 5 * self._largest):
            raise Error(f"ray: {self._vain} workers were lost in a row and no job ended ({type(problem).__name__})")
        return Lost(type(problem).__name__)

    def ended(self) -> None:
        """A job has ended, if only because it was given up: the workers before were not lost in vain."""
        self._vain = 0

    def _end(self, hand: Hand) -> None:
        """It may be running still, cut off: it gets no more work, and what it says is not heard."""
        self._hands.remove(hand)
        with suppress(Exception):  # of a cluster that is gone
            self._ray.kill(hand.actor, no_restart=True)
