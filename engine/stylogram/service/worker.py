"""The worker process: reads what to paint from its standard input, paints it, says in JSON lines how it goes.

    in   {"run": [job, ...], "together": true}    {"cancel": id}    {"stop": true}
    out  {"event": "before" | "progress" | "preview" | "checkpoint" | "ended", "job": id, ...}    {"event": "idle"}
         at first {"event": "ready", "note": text}, or {"event": "refused", "error": text} where there is no such device

A job is cancelled within an iteration, one that is not painted yet at once. "stop" ends running jobs with a checkpoint.
When the input closes, the server is gone, and the process ends at once.
"""

import base64
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import pictures
from ..errors import Error

PREVIEW = 512  # long side
QUALITY = 80


@dataclass(frozen=True)
class Task:
    """A job as the worker gets it: `pictures` are paths by field, `options` without them."""

    id: str
    task: str
    options: dict[str, Any]
    pictures: dict[str, list[str]]
    format: str
    checkpoint: dict[str, Any] | None
    directory: Path


class Orders:
    """What the server has said while jobs run."""

    def __init__(self) -> None:
        self.cancelled: set[str] = set()
        self.cancel: Callable[[str], None] = lambda _: None  # told of each, in the thread that listens
        self.stop = threading.Event()
        self.groups: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen(self) -> None:
        """Until the server is gone."""
        for line in sys.stdin.buffer:
            self.hear(json.loads(line))
        os._exit(0)  # nothing that is half made can be of use to anybody

    def hear(self, message: dict[str, Any]) -> None:
        """One order."""
        if "cancel" in message:
            self.cancelled.add(message["cancel"])
            self.cancel(message["cancel"])
        elif "stop" in message:
            self.stop.set()
        else:
            self.groups.put(message)


class Voice:
    """JSON lines to the server, from any thread. What libraries print goes to the standard error instead."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def say(self, event: str, **more: Any) -> None:
        """One line."""
        line = json.dumps({"event": event, **more}).encode() + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()


Say = Callable[..., None]


def jpeg(rgb: Any, side: int = PREVIEW) -> bytes:
    """A quick look at a picture (H,W,3) in [0,1]."""
    import cv2

    height, width = rgb.shape[:2]
    shrink = min(1.0, side / max(height, width))
    planes: Any = pictures.to_uint8(rgb)[..., ::-1]
    if shrink < 1:
        size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        planes = cv2.resize(planes, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", planes, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return bytes(data)


def text(data: bytes) -> str:
    """Bytes in JSON."""
    return base64.b64encode(data).decode()


def _limit_memory(most: int | None) -> None:
    """What goes beyond is an error of the job that asks for it, and not the end of some process."""
    import resource

    from .. import memory

    free = memory.available()
    most = most or (int(0.8 * free) if free < float("inf") else None)
    if most is None or sys.platform != "linux":
        return
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _task(message: dict[str, Any]) -> Task:
    return Task(**{**message, "directory": Path(message["directory"])})


def _device(asked: str, memory: int | None, say: Say) -> str:
    """The device that there is: cpu, or a GPU by its number; there memory is limited only where a limit was given."""
    if asked == "cpu":
        _limit_memory(memory)
        say("ready", note="")
        return asked
    from .. import devices

    try:
        chosen = devices.choose(asked)
    except Error as problem:
        say("refused", error=said(problem))
        os._exit(2)  # the thread that listens holds the standard input, and Python would not end without it
    if chosen.place is None or memory is not None:
        _limit_memory(memory)
    say("ready", note=chosen.note)
    return "cpu" if chosen.place is None else f"{chosen.place.kind}:{chosen.place.queue.index}"


def main() -> None:
    """Until the server is gone."""
    told = json.loads(sys.argv[1])
    voice, orders = Voice(), Orders()
    threading.Thread(target=orders.listen, daemon=True).start()
    told["device"] = _device(told["device"], told["memory"], voice.say)
    from .painter import Painter  # everything heavy

    painter = Painter(told, orders, voice.say)
    while True:
        group = [_task(message) for message in orders.groups.get()["run"]]
        try:
            painter.run(group)
        except Exception as problem:
            why = said(problem)
            for task in group:  # of those that have ended the server has heard already
                voice.say("ended", job=task.id, state="failed", error=why, notes=[], size=None)
        orders.cancelled -= {task.id for task in group}
        voice.say("idle")


def said(problem: BaseException) -> str:
    """A problem in one line for the job's owner; what is none of theirs goes to the log as well."""
    import traceback

    from .. import memory

    if memory.ran_out(problem):
        return "out of memory; a smaller size takes less"
    if isinstance(problem, Error):
        return " ".join(str(problem).split())
    traceback.print_exception(problem)
    return f"the server has a fault: {type(problem).__name__}; its log says more"


if __name__ == "__main__":
    main()
