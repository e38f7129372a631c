"""Server-sent events of one job: its state, a row for every iteration, previews.

A slow client delays nobody and fills no memory: it gets every row, since the rows are kept anyway, and of the previews
the latest. A client that comes back says the last row it has seen (Last-Event-ID).
"""

import base64
import json
from collections.abc import AsyncIterator

from .dispatcher import Dispatcher
from .jobs import ENDED
from .live import Live, Watcher

HEARTBEAT = 10.0  # seconds; a client that has gone is noticed by what it is sent


def event(name: str, data: object, number: int | None = None) -> str:
    """One event in the format of text/event-stream."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"


async def stream(dispatcher: Dispatcher, name: str, previews: bool, seen: int = 0) -> AsyncIterator[str]:
    """Until the job has ended, is removed, or the server stops. `seen`: rows that the client has."""
    watcher = Watcher()
    with dispatcher.watching(name, watcher) as live:
        if live is None:
            return
        state, shown = "", 0
        while True:
            said = dispatcher.describe(name)
            if said is None:
                yield event("removed", {"id": name})
                return
            now = said.model_dump_json(exclude={"progress"})
            news: list[str] = []  # sent as one: a client that has gone is noticed between one sending and the next
            if now != state:
                news.append(f"event: state\ndata: {said.model_dump_json()}\n\n")
                state = now
            seen = min(seen, len(live.rows))  # a job that was begun again
            for row in live.rows[seen:]:
                seen += 1
                news.append(event("progress", _row(live, row), seen))
            if previews and live.previews > shown and live.preview is not None:
                shown, data = live.previews, base64.b64encode(live.preview).decode()
                news.append(event("preview", {"number": shown, "picture": f"data:image/jpeg;base64,{data}"}))
            ended = said.state in ENDED  # as it was said: what has happened since is told in the next turn
            if ended:
                news.append(event("end", {"state": said.state}))
            if news:
                yield "".join(news)
            if ended or dispatcher.stopping:
                return
            if not await watcher.wait(HEARTBEAT):
                yield ": still here\n\n"


def _row(live: Live, row: tuple[int, int, float, float]) -> dict[str, object]:
    """A progress event; how many scales and iterations there are is known while the job runs."""
    said: dict[str, object] = dict(zip(("scale", "iteration", "seconds", "loss"), row, strict=True))
    if live.scales[0]:
        said |= {"scales": live.scales[0], "iterations": live.scales[1]}
    return said
