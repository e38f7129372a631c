"""Ctrl-C: held back while what was made is being saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """A Ctrl-C within is ignored: the run is ending already, and its picture must not be lost to a second one."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets, and may set, signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
