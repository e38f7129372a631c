"""Faults of the server itself: the thread that gives jobs to the worker, and a state that cannot be written."""

import time
from contextlib import contextmanager

import pytest
from service.serving import LONG, Server, asked, ended, post, running, state, until


@pytest.fixture
def own(tmp_path):
    """A server that is harmed."""
    made = Server(tmp_path)
    yield made
    made.close()


@contextmanager
def not_writable(server):
    """Every write into the state fails, as on a full disk or a broken one."""
    server.dispatcher.store._db.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        server.dispatcher.store._db.execute("PRAGMA query_only = OFF")


def quick(ask, *more, **options):
    """An answer that takes no two seconds."""
    started = time.monotonic()
    answer = ask(*more, **options)
    assert time.monotonic() - started < 2
    return answer


def test_an_unexpected_fault_fails_the_group_and_nothing_else(own, monkeypatch, caplog):
    first = ended(own.client, asked(own.client))
    assert first["state"] == "done"
    monkeypatch.setattr(own.dispatcher.foreman, "_told", lambda live: 1 / 0)
    job = ended(own.client, asked(own.client))
    assert (job["state"], job["error"]) == ("failed", "the server has a fault: ZeroDivisionError; its log says more")
    assert "painting failed" in caplog.text
    monkeypatch.undo()
    assert own.client.get("/healthz").json() == {"status": "ok", "reason": None, "queued": 0, "running": 0}
    assert ended(own.client, asked(own.client))["state"] == "done"


def test_a_fault_of_the_board_is_not_the_end(own, monkeypatch, caplog):
    take, faults = own.dispatcher.board.take, []

    def broken():
        faults.append(1)
        raise OSError("broken")

    monkeypatch.setattr(own.dispatcher.board, "take", broken)
    until(lambda: faults)
    monkeypatch.setattr(own.dispatcher.board, "take", take)
    assert "the foreman has a fault" in caplog.text
    assert ended(own.client, asked(own.client))["state"] == "done"


class Silent:
    """A worker that says that it is idle, and of no job how it ended."""

    said: tuple = ({"event": "ready", "note": ""}, {"event": "idle"})

    def __init__(self, settings):
        pass

    def say(self, **message):
        pass

    def heard(self):
        yield from self.said

    def end(self, seconds=5.0):
        return "exit status 0"

    def kill(self):
        pass

    def resident(self):
        return 0


def test_no_job_stays_running_when_the_worker_is_idle(own, monkeypatch):
    monkeypatch.setattr("stylogram.service.foreman.Worker", Silent)
    job = ended(own.client, asked(own.client))
    assert job["state"] == "failed"
    assert job["error"].startswith("the worker did not say how it ended")


def test_a_device_that_is_there_no_more_is_said(own, monkeypatch, caplog):
    monkeypatch.setattr(Silent, "said", ({"event": "refused", "error": "device cuda: gone"},))
    monkeypatch.setattr("stylogram.service.foreman.Worker", Silent)
    job = ended(own.client, asked(own.client))
    assert (job["state"], job["error"]) == ("failed", "device cuda: gone")


def test_a_state_that_cannot_be_written(own):
    """Nothing is accepted, cancelled or removed (507), nothing hangs, and what has ended is written later."""
    client = own.client
    old = ended(client, asked(client))
    job = asked(client, **LONG)
    running(client, job)
    waiting = asked(client, size="40")
    with not_writable(own):
        answer = quick(post, client)
        assert answer.status_code == 507
        assert "nothing was accepted" in answer.json()["error"]
        for one in (old, waiting):
            answer = quick(client.delete, f"/v1/jobs/{one['id']}")
            assert answer.status_code == 507
            assert "the server's state cannot be read or written: " in answer.json()["error"]
        assert state(client, waiting)["state"] == "queued"
        assert client.get(old["picture"]).status_code == 200
        quick(client.delete, f"/v1/jobs/{job['id']}")  # it runs: the worker is told
        made = ended(client, job)
        assert (made["state"], made["size"]) == ("cancelled", [36, 48])
        health = quick(client.get, "/healthz")
        assert health.status_code == 503
        assert health.json()["reason"].startswith("the server's state cannot be written: ")
        answer = quick(post, client)
        assert answer.status_code == 507
        assert "the server's state cannot be written: " in answer.json()["error"]
        assert state(client, waiting)["state"] == "queued"  # what cannot be kept is not begun
        assert own.dispatcher.store.get(job["id"]).state == "running"
    assert ended(client, waiting)["state"] == "done"
    assert own.dispatcher.store.get(job["id"]).state == "cancelled"
    assert state(client, waiting)["attempts"] == 1
    assert client.get("/healthz").status_code == 200


def test_a_job_is_not_begun_that_cannot_be_written(own):
    job = asked(own.client, **LONG)
    running(own.client, job)
    waiting = asked(own.client, size="40")
    with not_writable(own):
        own.dispatcher.board.queue.clear()  # the first to be written is its start
        own.client.delete(f"/v1/jobs/{job['id']}")
        ended(own.client, job)
        own.dispatcher.board._unsaved.clear()
        own.dispatcher.board.queue.append(waiting["id"])
        until(lambda: own.dispatcher.board._unsaved)
        seen = state(own.client, waiting)
        assert (seen["state"], seen["started"], seen["attempts"]) == ("queued", None, 0)
    assert ended(own.client, waiting)["attempts"] == 1


def test_what_could_not_be_written_is_tried_again_while_others_are_painted(own):
    """A checkpoint is written in the middle of a job; the next request may be its first chance to be."""
    job = asked(own.client, **LONG)
    running(own.client, job)
    board = own.dispatcher.board
    with not_writable(own), board.news:
        assert not board.save(board.live[job["id"]])
    assert own.client.get("/healthz").status_code == 200
    assert state(own.client, job)["state"] == "running"
    own.client.delete(f"/v1/jobs/{job['id']}")
    assert ended(own.client, job)["state"] == "cancelled"


def test_a_state_that_cannot_be_reached(own, monkeypatch):
    monkeypatch.setattr(own.dispatcher.archive, "_state", own.settings.state / "gone")
    answer = quick(post, own.client)
    assert answer.status_code == 507
    assert "the server's state cannot be reached: No such file or directory" in answer.json()["error"]
    monkeypatch.undo()
    assert ended(own.client, asked(own.client))["state"] == "done"
