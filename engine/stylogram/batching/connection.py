"""The connection to a Ray cluster (https://docs.ray.io), made within seconds or refused in one line."""

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..errors import Error

AUTO = "auto"
KNOCK = 5.0  # seconds for a connection to the address
ANSWER = 30.0  # seconds until the cluster says what it is; Python and Ray are started for that
_ACCEPTED = "accepted: auto, or HOST:PORT of a cluster's head, as `ray start --head` prints it"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray's module, connected to the cluster at `address` until the end of the block.

    A connection that the program has already is used, and kept. Raises Error: Ray is not installed, nothing answers
    there, something else does, another version.
    """
    ray: Any = _library()
    if ray.is_initialized():
        now = ray.get_runtime_context().gcs_address
        if address not in (AUTO, now):
            raise Error(f"ray: this program is connected to {now} already; accepted: auto or that, got {address!r}")
        yield ray
        return
    _check(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError, SystemExit) as problem:
        raise Error(f"ray: no connection to {address}: {one_line(problem)}; {_ACCEPTED}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _library() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise Error("ray: Ray is not installed; accepted after: pip install 'stylogram[ray]'") from None
    return ray


def _check(address: str) -> None:
    """That a cluster answers. Ray itself would ask for two minutes, and then end the process."""
    if address != AUTO:
        _knock(address)
    # In a process of its own, which can be ended. It says 0 for a cluster of this version of Ray.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += [] if address == AUTO else ["--address", address]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
    except subprocess.TimeoutExpired:
        raise Error(f"ray: what is at {address} is no Ray cluster, or hangs ({ANSWER:g} s); {_ACCEPTED}") from None
    if answer.returncode:
        said = (answer.stderr.strip() or answer.stdout.strip() or "it does not say why").splitlines()[-1]
        raise Error(f"ray: no cluster at {address}: {said[:300]}; {_ACCEPTED}")


def _knock(address: str) -> None:
    host, found, port = address.rpartition(":")
    if not found or not host or not port.isdecimal() or "/" in host:
        client = "; of ray:// the batch itself runs in the cluster: ray job submit" if "://" in address else ""
        raise Error(f"ray: {_ACCEPTED}, got {address!r}{client}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()
    except (OSError, OverflowError, UnicodeError) as problem:
        raise Error(f"ray: nothing answers at {address}: {one_line(problem)}; {_ACCEPTED}") from None


def one_line(problem: BaseException) -> str:
    """What an error says, at most 300 characters of it, without what Ray appends; its type if it says nothing."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    said = str(problem).partition("\ntraceback: ")[0]
    return " ".join(said.split())[:300] or type(problem).__name__
