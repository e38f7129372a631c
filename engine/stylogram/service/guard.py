"""Who may ask what, and how much: looked at before a request reaches a route, and before its body is read.

Host and Origin are compared with the server's own, so that a page of somebody else cannot use a browser to reach a
server on 127.0.0.1. The key is compared in constant time. A body is counted while it comes in, and all bodies together.
"""

import asyncio
import hmac
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import Error
from .metrics import Metrics
from .settings import MIB, Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/healthz")  # without a key: the page asks for it
OPEN_BELOW = "/page/"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRY = 5  # seconds, after which bodies that are coming in may have come
UNREAD = (413, 429)  # the answers to a body that has not been read
DRAIN = 16 * MIB  # of a body that was refused: who sends it first and listens afterwards hears why
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class BodyError(Error):
    """A body that is too large (`status` 413), does not come (408), or is too much at present (429, 503)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.seconds = None if status in (408, 413) else RETRY


class Bodies:
    """Bytes of all bodies that have come in and are not done with: never more than `most`. Safe from every thread."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self.now = 0

    def check(self, more: int) -> None:
        """Raises BodyError where there is no room for so many more."""
        if self.now + more > self._most:
            many = f"{self._most:,} bytes of requests are coming in, as many as this server takes at once"
            raise BodyError(429, f"{many}; try again in {RETRY} s")

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """What it gives holds so many more bytes until the end, or raises BodyError."""
        mine = 0

        def hold(more: int) -> None:
            nonlocal mine
            with self._lock:
                self.check(more)
                self.now += more
                mine += more

        try:
            yield hold
        finally:
            with self._lock:
                self.now -= mine


class Guard:
    """ASGI middleware around the application."""

    def __init__(
        self, app: App, settings: Settings, metrics: Metrics, bodies: Bodies, stopping: Callable[[], bool]
    ) -> None:
        self._app, self._settings, self._metrics, self._bodies = app, settings, metrics, bodies
        self._stopping = stopping
        self._key = None if settings.api_key is None else settings.api_key.encode()
        # No page can make a browser say one of LOOPBACK's for a name of its own; health checks do.
        self._names = {settings.host.lower(), *(name.lower() for name in settings.allow_hosts), *LOOPBACK}
        self._any_name = settings.host in ("0.0.0.0", "::") and not settings.allow_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answering(send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is None:
            with self._bodies.held() as hold:
                has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
                await self._app(scope, self._counting(receive, hold) if has_body else receive, answer)
            return
        await _say(answer, *refused)
        if refused[0] in UNREAD:
            await _drain(receive)
        await answer({"type": "http.response.body", "body": b""})

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _name(headers.get("host", ""))
        if not self._any_name and host not in self._names:
            return (
                403,
                f"this server is not called {host!r}; accepted: {', '.join(sorted(self._names))}, or --allow-host",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
            return 403, f"requests from pages of {origin[:100]!r} are not accepted, only from this server's own"
        if self._key is not None and not self._is_open(scope["path"]) and not self._has_key(headers):
            return 401, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        told = headers.get("content-length", "0")
        length = int(told) if told.isdecimal() else 0
        if length > self._settings.max_bytes:
            return 413, f"a body of {length:,} bytes; accepted: up to {self._settings.max_bytes:,}"
        try:
            self._bodies.check(length)
        except BodyError as problem:
            return problem.status, str(problem)
        return None

    def _is_open(self, path: str) -> bool:
        return path in OPEN or path.startswith(OPEN_BELOW)

    def _has_key(self, headers: dict[str, str]) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode("latin-1"), self._key or b"")

    def _counting(self, receive: Receive, hold: Callable[[int], None]) -> Receive:
        """The body, counted and timed."""
        got, until, whole = 0, time.monotonic() + self._settings.upload_seconds, False

        async def counted() -> Message:
            nonlocal got, whole
            if whole:  # what comes now is that the client has gone
                return await receive()
            message = await self._in_time(receive, until)
            if message["type"] == "http.disconnect":  # nobody hears it, but no fault of ours is logged
                raise BodyError(408, "the client has gone before its body was there; accepted: a whole one")
            got += (more := len(message.get("body", b"")))
            whole = not message.get("more_body", False)
            if got > self._settings.max_bytes:
                raise BodyError(413, f"the body is over {self._settings.max_bytes:,} bytes, the most that is accepted")
            hold(more)
            return message

        return counted

    async def _in_time(self, receive: Receive, until: float) -> Message:
        """The next part of a body, unless it comes too late or the server stops, which waits for nobody's body."""
        while True:
            left = until - time.monotonic()
            with suppress(TimeoutError):
                return await asyncio.wait_for(receive(), max(min(left, 1.0), 0.001))
            if self._stopping():
                raise BodyError(503, "the server is stopping; try again later")
            if left <= 1:
                seconds = self._settings.upload_seconds
                raise BodyError(408, f"the body was not there after {seconds:g} s; accepted: a faster one")

    def _answering(self, send: Send) -> Send:
        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    self._metrics.refused.labels(str(message["status"])).inc()
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        return answered


def _name(host: str) -> str:
    """A Host header without its port."""
    name = host.lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


async def _say(send: Send, status: int, text: str) -> None:
    """All of an answer but its end."""
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in UNREAD:
        headers.append((b"connection", b"close"))
    if status == 429:
        headers.append((b"retry-after", str(RETRY).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _drain(receive: Receive) -> None:
    got, until = 0, time.monotonic() + 2
    while got < DRAIN and time.monotonic() < until:
        try:
            message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.001))
        except TimeoutError:
            return
        got += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
