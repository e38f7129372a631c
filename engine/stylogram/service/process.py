"""The worker, seen from the server: a child process that is told what to paint and says how it goes, in JSON lines.

A child, not a thread: what runs out of memory or crashes in native code takes the worker with it, and not the server
with its queue. The child ends by itself when the server does, for whatever reason: its standard input closes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..errors import Error
from .settings import Settings


class Worker:
    """One child process. `say` is safe from every thread; `heard` is for one."""

    def __init__(self, settings: Settings) -> None:
        told = {"threads": settings.threads, "batch": settings.batch, "memory": settings.memory,
                "seconds": settings.max_seconds, "iterations": settings.max_iterations,
                "device": settings.device}  # fmt: skip
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the server, which tells the worker
            # Whatever a file's header has made us believe, OpenCV decodes no larger picture; checkpoints are as large.
            env={**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": str(max(settings.max_pixels, settings.max_size**2))},
        )

    @property
    def alive(self) -> bool:
        """It runs."""
        return self._process.poll() is None

    def say(self, **message: Any) -> None:
        """Tell it something; what has died is not told."""
        assert self._process.stdin is not None
        with self._lock, suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def heard(self) -> Iterator[dict[str, Any]]:
        """What it says, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                return  # it was killed in the middle of a word
            yield json.loads(line)

    def resident(self) -> int:
        """Bytes of memory that it has, 0 where the system does not say."""
        try:
            with open(f"/proc/{self._process.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    def kill(self) -> None:
        """At once."""
        self._process.kill()

    def end(self, seconds: float = 5.0) -> str:
        """Until it has ended; by force after so many seconds. Says how it died."""
        with self._lock, suppress(BrokenPipeError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name
        return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def tried(settings: Settings) -> str:
    """Start a worker and end it: what it says of its device, "" for the CPU. Raises Error: the device is not there."""
    worker = Worker(settings)
    try:
        said: dict[str, Any] = next(worker.heard(), {})
    finally:
        how = worker.end()
    if said.get("event") != "ready":
        raise Error(said.get("error") or f"device {settings.device}: the worker ended ({how}) before it was ready")
    return str(said["note"])
