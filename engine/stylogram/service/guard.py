"""Who may ask what, and how much: looked at before a request reaches a route, and before its body is read.

Host and Origin are compared with the server's own, so that a page of somebody else cannot use a browser to reach a
server on 127.0.0.1. The key is compared in constant time. A body is counted while it comes in.
"""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
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
    """A body that is too large, or that does not come: `status` 413 or 408."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """ASGI middleware around the application."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
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
        if refused is not None:
            await _say(answer, *refused)
            if refused[0] == 413:
                await _drain(receive)
            await answer({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, self._counting(receive), answer)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _name(headers.get("host", ""))
        if not self._any_name and host not in self._names:
            return (
                403,
                f"this server is not called {host!r}; accepted: {', '.join(sorted(self._names))}, or --allow-host",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return 403, f"requests from pages of {origin[:100]!r} are not accepted, only from this server's own"
        if self._key is not None and not self._is_open(scope["path"]) and not self._has_key(headers):
            return 401, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.max_bytes:
            return 413, f"a body of {int(length):,} bytes; accepted: up to {self._settings.max_bytes:,}"
        return None

    def _is_open(self, path: str) -> bool:
        return path in OPEN or path.startswith(OPEN_BELOW)

    def _has_key(self, headers: dict[str, str]) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode("latin-1"), self._key or b"")

    def _counting(self, receive: Receive) -> Receive:
        """The body, counted and timed."""
        got, until, whole = 0, time.monotonic() + self._settings.upload_seconds, False

        async def counted() -> Message:
            nonlocal got, whole
            if whole:  # what comes now is that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.001))
            except TimeoutError:
                seconds = self._settings.upload_seconds
                raise BodyError(408, f"the body was not there after {seconds:g} s; accepted: a faster one") from None
            got += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if got > self._settings.max_bytes:
                raise BodyError(413, f"the body is over {self._settings.max_bytes:,} bytes, the most that is accepted")
            return message

        return counted

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
    if status == 413:
        headers.append((b"connection", b"close"))
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
