"""Bad input and faults: each has its status and its line, and no job that was accepted is lost."""

import base64
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import cv2
import httpx
import numpy as np
import pytest
from service.serving import (
    CONTENT,
    KEY,
    LONG,
    STYLE,
    Process,
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
from stylogram.service.foreman import DEATHS


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


def lying(height, width):
    """A TIFF file of so many pixels that says 32 by 32 first: of equal tags libtiff takes the first, we the last."""
    data = cv2.imencode(".tif", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    at = struct.unpack_from("<I", data, 4)[0]
    entries = [data[at + 2 + 12 * k : at + 14 + 12 * k] for k in range(struct.unpack_from("<H", data, at)[0])]
    said = {tag: struct.pack("<HHII", tag, 4, 1, 32) for tag in (256, 257)}  # width and height
    entries = [part for entry in entries for part in (entry, said.get(struct.unpack_from("<H", entry)[0], b""))]
    count = sum(map(len, entries)) // 12
    start = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return start + struct.pack("<H", count) + b"".join(entries) + bytes(4)


def test_a_file_whose_header_lies(client, strict):
    job = ended(client, asked(client, content=lying(64, 80)))
    assert job["state"] == "failed"
    assert "is a damaged TIFF file: its header says 32x32 pixels, and it has 80x64" in job["error"]
    job = ended(strict.client, asked(strict.client, content=lying(1000, 1100)))
    assert job["state"] == "failed"
    assert "TIFF file, not decodable" in job["error"]  # over the limit on pixels, OpenCV refuses it before it decodes


def test_no_file_name_becomes_a_path_or_html(client, server):
    evil = ["<img src=x onerror=alert(1)>.png", "../../../../tmp/evil.png", "/etc/passwd", "a\x00b.png", "x" * 200]
    for name in evil:
        answer = post(client, files=[("content", (name, CONTENT)), ("style", (name, STYLE))])
        assert answer.status_code == 202
        assert "<img" not in answer.text
        assert ended(client, answer.json())["state"] == "done"
    names = [path.name for path in server.settings.state.rglob("*")]
    assert not [name for name in names if "<" in name or "evil" in name or "passwd" in name or "xx" in name]


def test_a_client_that_goes_in_the_middle_of_events(client, server):
    job = asked(client, **LONG)
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        for line in answer.iter_lines():
            if line == "event: progress":
                break
    live = server.dispatcher.board.live[job["id"]]
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
            body["pictures"] |= {
                "content": f"http://127.0.0.1:{port}/a.png",
                "style": [f"http://127.0.0.1:{port}/large.png"],
            }
            answer = server.client.post("/v1/jobs", json=body)
            assert answer.status_code == 422  # the pictures of a job together are as large as a body
            assert "bytes, which is all that a job has left" in answer.json()["error"]
            body["pictures"]["content"] = f"http://127.0.0.1:{port}@evil.example/a.png"
            assert server.client.post("/v1/jobs", json=body).status_code == 403
        finally:
            server.close()
            files.terminate()


@pytest.mark.parametrize(
    ("status", "said", "changes"),
    [
        (422, "unknown option 'sise'", {"options": {"sise": 32}}),
        (422, "unknown network 'nets'", {"options": {"network": "nets"}}),
        (422, "unknown task 'paint'", {"task": "paint"}),
        (422, "unknown format 'gif'", {"format": "gif"}),
        (422, "unknown picture of texture 'content'", {"task": "texture"}),
        (422, "style: a picture is needed", {"style": []}),
        (403, "does not fetch from 'evil.example'", {"style": "http://evil.example/"}),
        (422, "style: a URL or a list of URLs is accepted", {"style": [1]}),
        (422, "cannot be fetched: ", {}),
    ],
)
def test_nothing_is_fetched_for_a_request_that_is_refused_anyway(tmp_path, status, said, changes):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        server = Server(tmp_path, url_hosts=(f"LocalHost:{port}",))  # a host's name is the same in capitals
        try:
            urls = {"content": f"http://LOCALhost:{port}/a.png", "style": f"http://localhost:{port}/b.png"}
            if "style" in changes:
                urls["style"] = changes["style"]
            body = {"pictures": urls, **{name: value for name, value in changes.items() if name != "style"}}
            answers = []
            asking = threading.Thread(target=lambda: answers.append(server.client.post("/v1/jobs", json=body)))
            asking.start()
            try:
                listener.accept()[0].close()
                fetched = True
            except TimeoutError:
                fetched = False
            asking.join(10)
            assert (answers[0].status_code, fetched) == (status, "cannot be fetched" in said)
            assert said in answers[0].json()["error"]
        finally:
            server.close()


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
    return server.dispatcher.foreman.worker._process.pid


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
    for _ in range(DEATHS):
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
        (["--grace", "nan"], "Invalid value for '--grace': nan is not a finite number."),
        (["--max-seconds", "nan"], "Invalid value for '--max-seconds'"),
        (["--memory-gb", "inf"], "Invalid value for '--memory-gb'"),
        (["--url-host", "http://example.org"], "url-host: the name of a host is accepted, without http:// and path"),
        (["--allow-host", ""], "allow-host: the name of a host is accepted"),
        (["--device", "gpu"], "unknown device 'gpu'; accepted: "),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    state = [] if "--state" in arguments else ["--state", "state"]
    port = [] if {"--port", "--host"} & set(arguments) else ["--port", "0"]
    assert main(["serve", *state, *port, *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_gpu_that_is_not_there_is_one_line(tmp_path):
    server = Process(tmp_path, "--device", "cuda:77")
    assert server.said.startswith("error: device")
    assert (server.end("poll"), server.rest) == (2, "")


def test_auto_says_why_it_takes_the_cpu(tmp_path):
    """Where there is a GPU, it says which; then the job would be painted there."""
    server = Process(tmp_path, "--device", "auto")
    assert ended(server.client, asked(server.client))["state"] == "done"
    assert server.end() == 0
    assert server.rest.startswith(("device auto: runs on the CPU; device cuda: ", "runs on "))
    assert server.rest.count("\n") == 1
