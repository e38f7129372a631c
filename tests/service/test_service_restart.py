"""Servers that are killed and servers that are stopped, and the ones that take up what they had."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

from service.serving import Process, Server, asked, ended, events, png, running, until
from stylogram.cli import main
from stylogram.service.store import Store


def child_of(parent):
    """The process that another one has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                return int(path.parent.name)
    raise AssertionError("there is no child")


def test_a_server_that_is_killed_and_one_that_is_stopped_lose_nothing(tmp_path):
    first = Process(tmp_path)
    done = ended(first.client, asked(first.client))
    picture = first.client.get(done["picture"]).content
    jobs = [asked(first.client, size="48", iterations="300", content=png(seed=3))]
    running(first.client, jobs[0], 5)
    jobs += [asked(first.client, size=size) for size in ("32", "40")]
    worker = child_of(first.process.pid)
    assert first.end("kill") == -signal.SIGKILL
    until(lambda: not Path(f"/proc/{worker}").exists())  # the worker does not outlive its server

    second = Process(tmp_path, "--grace", "0.1")
    made = [ended(second.client, job) for job in jobs]
    assert [job["state"] for job in made] == ["done"] * 3
    assert [job["attempts"] for job in made] == [2, 1, 1]
    assert second.client.get(done["picture"]).content == picture
    assert len(second.client.get("/v1/jobs").json()["jobs"]) == 4
    long = asked(second.client, size="48", iterations="1000")
    running(second.client, long, 30)
    waiting = asked(second.client, size="40")
    started = time.monotonic()
    assert second.end() == 0
    assert time.monotonic() - started < 10
    assert second.rest == ""
    assert (tmp_path / "state/jobs" / long["id"] / "checkpoint.png").exists()

    store = Store(tmp_path / "state")
    kept = store.get(long["id"])
    store.close()
    third = Process(tmp_path)
    goes_on(third.client, long, kept)
    assert ended(third.client, waiting)["state"] == "done"
    assert not (tmp_path / "state/jobs" / long["id"] / "checkpoint.png").exists()
    assert third.end() == 0


def goes_on(client, job, kept):
    """That a job has gone on where it was stopped, and not from its beginning."""
    made = ended(client, job)
    assert (made["state"], made["attempts"]) == ("done", 1)
    rows = [data for name, data in events(client, made) if name == "progress"]
    assert [row["iteration"] for row in rows] == list(range(1001))
    at = kept.checkpoint["iteration"]
    assert at >= 30
    old = [row["seconds"] for row in rows[:at]]
    assert old == [seconds for _, _, seconds, _ in kept.losses[:at]]  # nothing was done a second time
    start, left, taken_up = (rows[i]["loss"] for i in (0, at - 1, at))
    assert taken_up - left < 0.1 * (start - left)  # not quite `left`: a checkpoint has no margin, and clipped colours


def test_two_servers_on_one_state(server, capsys):
    assert main(["serve", "--port", "0", "--state", str(server.settings.state)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: state: ")
    assert f"is in use by another server (process {os.getpid()})" in said
    assert server.client.get("/healthz").status_code == 200


def test_a_stop_does_not_wait_for_a_body_that_does_not_come(tmp_path):
    server = Process(tmp_path, "--grace", "0.1")
    lines = ["POST /v1/jobs HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Content-Length: 9", "", ""]
    with socket.create_connection(("127.0.0.1", server.client.base_url.port), timeout=20) as wire:
        wire.sendall("\r\n".join(lines).encode() + b"{")
        time.sleep(0.5)
        started = time.monotonic()
        server.process.terminate()
        answer = b""
        while chunk := wire.recv(65536):  # head and body may come one after the other
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"the server is stopping" in answer
    assert server.process.wait(20) == 0
    assert time.monotonic() - started < 4  # uvicorn would wait five seconds, and say so in thirty lines
    assert (server.end(), server.rest) == (0, "")


def test_a_stop_lets_running_jobs_finish(tmp_path):
    first = Server(tmp_path, grace=30.0)
    job = asked(first.client, size="40", iterations="200")
    running(first.client, job)
    first.close()
    kept = Store(tmp_path / "state")
    made = kept.get(job["id"])
    kept.close()
    assert (made.state, made.attempts, len(made.losses)) == ("done", 1, 201)
