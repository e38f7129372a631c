"""Bodies of requests: too large, too many at once, too slow, and cut off."""

import contextlib
import socket
import time
from functools import partial

import pytest
from service.serving import KEY, LONG, Process, Server, asked, ended, head, noise, post, running, spoken, state, until


def test_two_gigabytes_are_refused_before_they_are_sent(strict):
    status, said = spoken(strict, head(f"Content-Length: {2 << 30}"))
    assert (status, said) == (413, "a body of 2,147,483,648 bytes; accepted: up to 200,000")


def test_a_body_without_a_length_is_counted(strict):
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n' + bytes(40_000)
    chunks = [b"%x\r\n%b\r\n" % (len(part), part)] * 6
    status, said = spoken(strict, head("Transfer-Encoding: chunked"), *chunks)
    assert (status, said) == (413, "the body is over 200,000 bytes, the most that is accepted")


@pytest.fixture
def narrow(tmp_path):
    """A server that has room for two bodies of 100,000 bytes."""
    made = Server(tmp_path, api_key=KEY, max_bytes=100_000, max_uploads=2)
    made.client.headers["Authorization"] = f"Bearer {KEY}"
    yield made
    made.close()


@pytest.mark.parametrize("how", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_bodies_that_come_in_at_once_are_counted_together(narrow, how):
    """Two are let in; a third hears when to come again, and is let in when one of them has gone."""
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n' + bytes(95_000)
    sent = part if "Length" in how else b"%x\r\n%b\r\n" % (len(part), part)
    with contextlib.ExitStack() as around:
        for _ in range(2):
            wire = around.enter_context(socket.create_connection(("127.0.0.1", narrow.port), timeout=10))
            wire.sendall(head(how) + sent)
        until(lambda: narrow.app.state.bodies.now >= 190_000)
        answer = post(narrow.client, content=noise(60, 60))
        assert answer.status_code == 429
        assert answer.json()["error"] == (
            "200,000 bytes of requests are coming in, as many as this server takes at once; try again in 5 s"
        )
        assert answer.headers["retry-after"] == "5"
        status, said = spoken(narrow, head("Transfer-Encoding: chunked"), b"%x\r\n%b\r\n" % (len(part), part))
        assert (status, said) == (429, answer.json()["error"])
        assert narrow.client.get("/v1/jobs").status_code == 200
    until(lambda: narrow.app.state.bodies.now == 0)
    assert ended(narrow.client, asked(narrow.client, content=noise(60, 60)))["state"] == "done"


def test_a_sender_who_listens_late_hears_why(strict):
    answer = strict.client.post("/v1/jobs", files=[("content", ("a", bytes(3_000_000)))])
    assert answer.status_code == 413


def test_who_goes_away_leaves_nothing_in_the_log(tmp_path):
    """In the middle of a body or of events."""
    server = Process(tmp_path, "--grace", "0.1")
    job = asked(server.client, **LONG)
    running(server.client, job)
    own = head().replace(b"Authorization: Bearer a key with spaces\r\n", b"")
    begun = own.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n--x\r\n")
    events = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for sent in (begun, begun.replace(b"multipart/form-data; boundary=x", b"application/json"), events, events):
        with socket.create_connection(("127.0.0.1", server.client.base_url.port)) as wire:
            wire.sendall(sent)
            if sent is events:
                wire.recv(1)
            else:
                time.sleep(0.1)
    assert state(server.client, job)["state"] == "running"
    until(lambda: 'refused_total{status="408"} 2.0' in server.client.get("/metrics").text)
    assert (server.end(), server.rest) == (0, "")


def test_a_slow_sender_is_let_go_and_delays_nobody(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as wire:
        wire.sendall(head("Content-Length: 1000") + b"--x\r\n")
        started = time.monotonic()
        assert strict.client.get("/v1/jobs").status_code == 200
        assert time.monotonic() - started < 0.8
        answer = b"".join(iter(partial(wire.recv, 65536), b""))
    assert b" 408 " in answer.splitlines()[0]
    assert b"the body was not there after 1 s" in answer
