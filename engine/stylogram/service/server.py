"""The server around the application: a socket, signals, and an end in good order."""

import signal
import socket
import sys
from types import FrameType

import uvicorn

from ..errors import Error
from ..files import reason
from .app import create_app
from .dispatcher import Dispatcher
from .guard import LOOPBACK
from .process import tried
from .settings import Settings

CONNECTIONS = 1000  # at once; further ones are answered 503
KEEP_ALIVE = 15  # seconds that a connection may be idle
BACKLOG = 256
UNREAD = 60_000  # milliseconds for which what is sent may lie unread


class _Server(uvicorn.Server):
    """A stop lets go of everybody who listens to events, or it would wait for them."""

    def __init__(self, config: uvicorn.Config, dispatcher: Dispatcher) -> None:
        super().__init__(config)
        self._dispatcher = dispatcher

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._dispatcher.begin_stop()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Until it is stopped. Raises Error: an address, a state directory or a device that cannot be used."""
    with _listener(settings) as listener:
        note = "" if settings.device == "cpu" else tried(settings)
        app = create_app(settings)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=round(settings.grace) + 5, ws="none",
        )  # fmt: skip
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"http://{host}:{listener.getsockname()[1]} (state: {settings.state})", file=sys.stderr, flush=True)
        if note:
            print(note, file=sys.stderr, flush=True)
        if settings.api_key is None and settings.host not in LOOPBACK:
            print("anybody who reaches this address may use it: no --api-key is set", file=sys.stderr, flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
            signal.signal(number, lambda *_: None)
        _Server(config, app.state.dispatcher).run([listener])


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # of its connections too: who does not read is let go
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as problem:
        listener.close()
        raise Error(
            f"host, port: {settings.host}:{settings.port} cannot be listened on: {reason(problem)}; "
            "accepted: an address of this machine and a free port"
        ) from None
    listener.listen(BACKLOG)
    return listener
