"""Bad input and faults: each has its status and its line, and no job that was accepted is lost."""

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib

import httpx
import pytest
from service.serving import (
    CONTENT,
    LONG,
    STYLE,
    Server,
    asked,
    ended,
    events,
    noise,
    post,
    running,
    shape,
    state,
    until,
)  # fmt: skip
from stylogram.cli import main
from stylogram.service import dispatcher as dispatching

KEY = "a key with spaces"


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server with a key and narrow limits."""
    made = Server(
        tmp_path_factory.mktemp("strict"), api_key=KEY, max_bytes=200_000, max_pixels=1_000_000, max_queue=2,
        max_seconds=0.5, upload_seconds=1.0, memory=2**30,
    )  # fmt: skip
    made.client.headers["Authorization"] = f"Bearer {KEY}"
    yield made
    made.close()


def spoken(server, *parts, seconds=10.0):
    """What the server answers to these bytes; the status line, and the body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as wire:
        for part in parts:
            wire.sendall(part)
        data = b""
        while chunk := wire.recv(65536):
            data += chunk
            _, _, body = data.partition(b"\r\n\r\n")
            if b"}" in body:
                break
    return int(data.split()[1]), json.loads(body[body.index(b"{") : body.index(b"}") + 1])["error"]


def head(*more):
    lines = ["POST /v1/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}",
             "Content-Type: multipart/form-data; boundary=x", *more, "", ""]  # fmt: skip
    return "\r\n".join(lines).encode()


def test_two_gigabytes_are_refused_before_they_are_sent(strict):
    status, said = spoken(strict, head(f"Content-Length: {2 << 30}"))
    assert (status, said) == (413, "a body of 2,147,483,648 bytes; accepted: up to 200,000")


def test_a_body_without_a_length_is_counted(strict):
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n' + bytes(40_000)
    chunks = [b"%x\r\n%b\r\n" % (len(part), part)] * 6
    status, said = spoken(strict, head("Transfer-Encoding: chunked"), *chunks)
    assert (status, said) == (413, "the body is over 200,000 bytes, the most that is accepted")


def test_a_sender_who_listens_late_hears_why(strict):
    answer = strict.client.post("/v1/jobs", files=[("content", ("a", bytes(3_000_000)))])
    assert answer.status_code == 413


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_small_file_that_claims_to_be_huge(strict):
    """40,000 by 40,000 pixels in 100 KB: the header is read, and nothing is decoded."""
    rows = zlib.compress(bytes(100_000_000), 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    bomb += chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert 90_000 < len(bomb) < 110_000
    started = time.monotonic()
    answer = post(strict.client, content=bomb)
    assert answer.status_code == 413
    assert answer.json()["error"] == "content has 40000x40000 pixels; accepted: up to 1,000,000 pixels in all"
    assert time.monotonic() - started < 1


def test_no_file_name_becomes_a_path_or_html(client, server):
    evil = ["<img src=x onerror=alert(1)>.png", "../../../../tmp/evil.png", "/etc/passwd", "a\x00b.png", "x" * 200]
    for name in evil:
        answer = post(client, files=[("content", (name, CONTENT)), ("style", (name, STYLE))])
        assert answer.status_code == 202
        assert "<img" not in answer.text
        assert ended(client, answer.json())["state"] == "done"
    names = [path.name for path in server.settings.state.rglob("*")]
    assert not [name for name in names if "<" in name or "evil" in name or "passwd" in name or "xx" in name]


def test_a_slow_sender_is_let_go_and_delays_nobody(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as wire:
        wire.sendall(head("Content-Length: 1000") + b"--x\r\n")
        started = time.monotonic()
        assert strict.client.get("/v1/jobs").status_code == 200
        assert time.monotonic() - started < 0.8
        answer = wire.recv(65536)
    assert b" 408 " in answer.splitlines()[0]
    assert b"the body was not there after 1 s" in answer


def test_a_client_that_goes_in_the_middle_of_events(client, server):
    job = asked(client, **LONG)
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        for line in answer.iter_lines():
            if line == "event: progress":
                break
    live = server.dispatcher._live[job["id"]]
    until(lambda: not live.watchers)
    assert state(client, job)["state"] == "running"
    client.delete(f"/v1/jobs/{job['id']}")
    ended(client, job)


def test_a_client_that_does_not_read_its_events_delays_nobody(client, server):
    job = asked(client, network="narrow", size="48", iterations="150")
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert ended(client, job)["state"] == "done"
        assert len([1 for name, _ in events(client, job) if name == "progress"]) == 151
        data = b""
        while b"event: end" not in data:
            data += wire.recv(65536)
    assert data.count(b"event: progress") == 151  # rows are kept for whoever reads late


def test_a_full_queue_says_when_to_come_again(strict):
    jobs = []
    for size in (32, 40, 48, 56, 64):
        answer = post(strict.client, size=str(size), iterations="4000")
        if answer.status_code == 429:
            break
        jobs.append(answer.json())
    assert answer.status_code == 429
    assert "2 jobs are waiting, as many as this server takes" in answer.json()["error"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 600
    made = [ended(strict.client, job) for job in jobs]
    assert [job["state"] for job in made] == ["done"] * len(jobs)
    for job in made:  # each ran into the limit of half a second, and kept what there was
        assert job["notes"][-1].startswith("stopped after 0.5 s, this server's limit, at iteration ")
        assert shape(strict.client.get(job["picture"]).content) == tuple(job["size"])


def test_a_key_is_asked_for(strict):
    with httpx.Client(base_url=strict.url) as stranger:
        for path in ("/v1/jobs", "/v1/networks", "/v1/tasks", "/metrics", "/openapi.json", "/v1/jobs/x/events"):
            assert stranger.get(path).status_code == 401, path
            assert stranger.get(path, headers={"X-API-Key": "another"}).status_code == 401
            assert stranger.get(path, headers={"Authorization": f"Basic {KEY}"}).status_code == 401
        assert post(stranger).status_code == 401
        assert stranger.get("/v1/jobs", headers={"X-API-Key": KEY}).status_code == 200
        for path in ("/", "/healthz", "/page/main.js"):
            assert stranger.get(path).status_code == 200, path
        assert "www-authenticate" in stranger.get("/v1/jobs").headers
    assert strict.client.get("/openapi.json").json()["security"]


def test_a_browser_is_not_made_to_ask_for_others(client):
    """A page of somebody else, by its Origin, or by a name of its own that leads to 127.0.0.1."""
    assert client.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 403
    for origin in ("http://evil.example", "null", "http://[", f"http://{client.base_url.host}"):  # the last: no port
        assert client.post("/v1/jobs", headers={"Origin": origin}).status_code == 403
    own = str(client.base_url).rstrip("/")
    assert client.post("/v1/jobs", headers={"Origin": own}).status_code == 415
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_urls_only_from_hosts_that_were_named(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(CONTENT)
    (folder / "b.png").write_bytes(STYLE)
    (folder / "large.png").write_bytes(noise(300, 300))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as files:  # fmt: skip
        port = files.stdout.readline().split("port ")[1].split()[0]
        server = Server(tmp_path, url_hosts=(f"127.0.0.1:{port}",), max_bytes=100_000)
        try:
            asks = {
                202: ("a.png", port), 403: ("a.png", "1"), 422: ("missing.png", port),
            }  # fmt: skip
            for status, (name, at) in asks.items():
                body = {"pictures": {"content": f"http://127.0.0.1:{at}/{name}", "style": f"http://127.0.0.1:{port}/b.png"},
                        "options": {"network": "narrow", "size": 32, "iterations": 1}}  # fmt: skip
                answer = server.client.post("/v1/jobs", json=body)
                assert answer.status_code == status, answer.text
            body["pictures"]["content"] = f"http://127.0.0.1:{port}/large.png"
            assert "over 100,000 bytes" in server.client.post("/v1/jobs", json=body).json()["error"]
            body["pictures"]["content"] = f"http://127.0.0.1:{port}@evil.example/a.png"
            assert server.client.post("/v1/jobs", json=body).status_code == 403
        finally:
            server.close()
            files.terminate()


def test_what_does_not_fit_into_memory_fails_alone(strict):
    big = ended(strict.client, asked(strict.client, size="1024", iterations="1000", history="1000"))
    assert big["state"] == "failed"
    assert "GiB would be needed" in big["error"]
    files = [("source", ("a", STYLE))]
    options = {"task": "texture", "size": "1024", "source_size": "64", "iterations": "1000", "history": "1000"}
    answer = strict.client.post("/v1/jobs", files=files, data={"network": "narrow", **options})
    job = ended(strict.client, answer.json())
    assert (job["state"], job["error"]) == ("failed", "out of memory; a smaller size takes less")
    assert ended(strict.client, asked(strict.client))["state"] == "done"
    assert "stylogram_worker_deaths_total 0.0" in strict.client.get("/metrics").text


def worker_of(server):
    return server.dispatcher._worker._process.pid


def test_a_worker_that_is_killed_takes_no_job_with_it(client, server):
    blocker = asked(client, **LONG)
    running(client, blocker)
    jobs = [asked(client, size="40", iterations="150", seed=str(seed)) for seed in range(2)]
    client.delete(f"/v1/jobs/{blocker['id']}")
    running(client, jobs[0])
    os.kill(worker_of(server), signal.SIGKILL)
    done = [ended(client, job) for job in jobs]
    assert [job["state"] for job in done] == ["done", "done"]
    assert [job["attempts"] for job in done] == [2, 2]
    for job in done:
        rows = [data["iteration"] for name, data in events(client, job) if name == "progress"]
        assert rows == list(range(151))


def test_a_job_that_kills_two_workers_has_failed(client, server):
    job = asked(client, **LONG)
    for _ in range(dispatching.DEATHS):
        running(client, job, 5)
        os.kill(worker_of(server), signal.SIGKILL)
        until(lambda: state(client, job)["progress"] is None)
    made = ended(client, job)
    assert made["state"] == "failed"
    assert "the worker died with it 2 times (SIGKILL, as when memory runs out)" in made["error"]
    assert ended(client, asked(client))["state"] == "done"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_gets_full(small_disk, tmp_path):
    server = Server(tmp_path, state=small_disk / "state")
    client = server.client
    try:
        done = ended(client, asked(client))
        filling = small_disk / "filling"
        filling.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 65536))
        answer = post(client, content=noise(200, 200))
        assert answer.status_code == 507
        assert "nothing was accepted" in answer.json()["error"]
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1
        assert client.get(done["picture"]).status_code == 200
        filling.unlink()
        assert ended(client, asked(client, content=noise(200, 200)))["state"] == "done"
    finally:
        server.close()


def test_too_little_free_disk_stops_the_queue_and_not_the_jobs(tmp_path):
    server = Server(tmp_path, min_free=2**60)
    try:
        answer = post(server.client)
        assert answer.status_code == 507
        assert "the disk is full: " in answer.json()["error"]
        health = server.client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    finally:
        server.close()


def test_a_data_url_of_a_bomb_is_looked_at_too(strict):
    url = f"data:image/png;base64,{base64.b64encode(CONTENT[:-10]).decode()}"
    answer = strict.client.post("/v1/jobs", json={"pictures": {"content": url, "style": url}})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "1.2.3.4"], "host, port: 1.2.3.4:8000 cannot be listened on"),
        (["--networks", "nowhere"], "networks: nowhere is no directory"),
        (["--state", "/dev/null/x"], "state: /dev/null/x cannot be written"),
        (["--api-key", ""], "api-key: a key of at least one character"),
        (["--port", "99999"], "Invalid value for '--port'"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    state = [] if "--state" in arguments else ["--state", "state"]
    port = [] if {"--port", "--host"} & set(arguments) else ["--port", "0"]
    assert main(["serve", *state, *port, *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
