"""Workers that go wrong. A cluster's nodes import them from here: tests/ is in their PYTHONPATH."""

import os
import signal
from dataclasses import replace

from stylogram.batching.worker import Worker

DEADLY = "deadly.png"


class Deadly(Worker):
    """Killed by the job whose output is DEADLY, as by a crash in native code."""

    def paint(self, jobs, networks, batch):
        if any(job.output == DEADLY for job in jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().paint(jobs, networks, batch)


class Unreadable:
    """What no node can read."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ConnectionError("the line\nwas cut")


class Cut(Worker):
    """Cut off from the networks that it needs."""

    def paint(self, jobs, networks, batch):
        import ray

        yield from super().paint(jobs, dict.fromkeys(networks, ray.put(Unreadable())), batch)


class Holder:
    """Takes a processor, and does nothing with it."""

    def ready(self):
        return True


class Broken(Worker):
    """On a node where something is not installed."""

    def __init__(self, threads, neighbours, every):
        raise ModuleNotFoundError("No module named 'cv2'")


class Old(Worker):
    """On a node with another version."""

    def hello(self):
        return replace(super().hello(), version="0.0.1")
