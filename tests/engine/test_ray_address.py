"""--ray where nothing answers, something else does, or Ray is not installed: one line, within seconds."""

import socket
import sys
import time

import pytest
from engine.batches import ARGUMENTS, four
from engine.command import refused
from stylogram.batching import connection
from stylogram.cli import main


@pytest.fixture
def mute():
    """An address that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def closed():
    """An address at which nothing listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{once.getsockname()[1]}"


def batch(here, *more):
    return main(["batch", four(here), "-o", "out", *more, *ARGUMENTS])


def needs_ray():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'stylogram[ray]'")


def test_nothing_answers(here, capsys):
    needs_ray()
    started = time.perf_counter()
    assert batch(here, "--ray", address := closed()) == 2
    assert refused(capsys, f"ray: nothing answers at {address}: Connection refused; accepted: auto, or HOST:PORT")
    assert time.perf_counter() - started < 2 * connection.KNOCK
    assert not (here / "out").exists()


def test_something_else_answers(here, capsys, mute, monkeypatch):
    needs_ray()
    monkeypatch.setattr(connection, "ANSWER", 3.0)
    assert batch(here, "--ray", mute) == 2
    assert refused(capsys, f"ray: what is at {mute} is no Ray cluster, or hangs (3 s); accepted")
    monkeypatch.setenv("RAY_ADDRESS", mute)
    assert batch(here, "--ray", "auto") == 2
    assert refused(capsys, "ray: what is at auto is no Ray cluster, or hangs (3 s)")
    assert not (here / "out").exists()


@pytest.mark.parametrize("address", ["nonsense", "head:port", "http://head:6379", "", ":6379"])
def test_what_is_no_address(here, capsys, address):
    needs_ray()
    assert batch(here, "--ray", address) == 2
    assert refused(
        capsys, "ray: accepted: auto, or HOST:PORT of a cluster's head, as `ray start --head` prints it, got"
    )


def test_a_client_s_address(here, capsys):
    needs_ray()
    assert batch(here, "--ray", "ray://head:10001") == 2
    assert refused(capsys, "got 'ray://head:10001'; of ray:// the batch itself runs in the cluster: ray job submit")


def test_without_ray(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert batch(here, "--ray", "auto") == 2
    assert refused(capsys, "ray: Ray is not installed; accepted after: pip install 'stylogram[ray]'")


@pytest.mark.parametrize("workers", ["0", "many", "1.5"])
def test_a_wrong_number_of_workers(here, capsys, workers):
    assert batch(here, "--ray", "auto", "--workers", workers) == 2
    assert refused(capsys, f"workers: a number from 1 to 65536 is accepted, got '{workers}'")


def test_workers_without_a_cluster(here, capsys):
    assert batch(here, "--workers", "2") == 2
    assert refused(capsys, "workers: accepted together with ray only")
