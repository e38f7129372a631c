"""A service for tests: in this process, with its worker beside it, or as the command in a process of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import cv2
import httpx
import numpy as np
import uvicorn
from stylogram import pictures
from stylogram.service.app import create_app
from stylogram.service.settings import Settings
from stylogram_export.network import save

from engine import nets

MAIN = "import sys; from stylogram.entry import main; sys.exit(main())"
QUICK = {"network": "narrow", "size": "32", "iterations": "3"}
KEY = "a key with spaces"  # of the server `strict`
LONG = {"network": "narrow", "size": "48", "iterations": "3900"}


def png(height=36, width=48, seed=1, **more):
    """A picture's file, of coloured squares."""
    rgb = pictures.to_uint8(nets.blocks(height, width, seed, **more))
    return cv2.imencode(".png", rgb)[1].tobytes()


CONTENT, STYLE = png(), png(40, 40, 2)


def networks(folder):
    """A folder with a narrow network."""
    folder.mkdir(exist_ok=True)
    if not (folder / "narrow.onnx").exists():
        save(nets.narrow(), folder / "narrow.onnx")
    return folder


class Server:
    """In a thread of this process."""

    def __init__(self, folder: Path, **settings):
        networks(folder / "networks")
        given = {"state": folder / "state", "networks": folder / "networks", "min_free": 0, "grace": 1.0, **settings}
        self.settings = Settings(**given)
        self.app = create_app(self.settings)
        self.dispatcher = self.app.state.dispatcher
        config = uvicorn.Config(self.app, log_level="warning", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.run, args=[[listener]])
        self._thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=60)
        until(lambda: self._server.started)

    def close(self):
        self.client.close()
        self.dispatcher.begin_stop()
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()


class Process:
    """The command, in a process that can be killed. `all` are those that were started: none outlives its test."""

    all: ClassVar[list["Process"]] = []

    def __init__(self, folder: Path, *arguments, **environment):
        networks(folder / "networks")
        command = [sys.executable, "-c", MAIN, "serve", "--port", "0", "--state", str(folder / "state"),
                   "--networks", str(folder / "networks"), "--min-free-mb", "0", *map(str, arguments)]  # fmt: skip
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, cwd=folder
        )
        Process.all.append(self)
        self.said = self.process.stderr.readline()
        self.url = self.said.split()[0] if self.said.startswith("http") else ""
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self.rest = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self.url:
            until(self._up)

    def _read(self):
        self.rest = self.process.stderr.read()

    def _up(self):
        with contextlib.suppress(httpx.HTTPError):
            return self.client.get("/healthz").status_code == 200

    def end(self, how="terminate", seconds=60):
        getattr(self.process, how)()
        code = self.process.wait(seconds)
        self.client.close()
        self._reader.join(10)
        self.process.stderr.close()
        return code


def until(look, seconds=60.0, every=0.02):
    """What `look` gives, once it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds:g} s: {look}")


def post(client, content=CONTENT, style=STYLE, files=None, **options):
    """The answer to a stylize job."""
    given = [("content", ("a.png", content)), ("style", ("b.png", style))] if files is None else files
    return client.post("/v1/jobs", files=given, data={**QUICK, **options})


def asked(client, **options):
    """A job that was accepted."""
    answer = post(client, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def state(client, job):
    return client.get(f"/v1/jobs/{job['id']}").json()


def ended(client, job, seconds=60.0):
    """The job when it has ended."""
    return until(lambda: (now := state(client, job))["state"] in ("done", "failed", "cancelled") and now, seconds)


def running(client, job, iterations=1):
    """The job when it has done some iterations."""
    return until(lambda: ((now := state(client, job))["progress"] or {}).get("iteration", -1) >= iterations and now)


def events(client, job, **given):
    """(event, data) until the stream ends."""
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", **given) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            key, _, value = line.partition(": ")
            name = value if key == "event" else name
            if key == "data":
                yield name, json.loads(value)


def rgb(data):
    return pictures.decode(data).rgb


def shape(data):
    return rgb(data).shape[:2]


def noise(height, width, seed=0):
    """A picture's file that does not compress."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", values)[1].tobytes()


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
    """A request for a job, up to its body."""
    lines = ["POST /v1/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}",
             "Content-Type: multipart/form-data; boundary=x", *more, "", ""]  # fmt: skip
    return "\r\n".join(lines).encode()
