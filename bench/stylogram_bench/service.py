"""What `stylogram serve` holds: many clients at once, and many jobs one after the other.

    python -m stylogram_bench.service -o bench/results/service.json

Clients ask, wait a moment when they are answered 429, and fetch their pictures; any other status is an error. Jobs are
tiny, so that the service is measured and not the painting. Memory is the resident memory of server and worker.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from .compare import write

MAIN = "import sys; from stylogram.entry import main; sys.exit(main())"
SIZES = (32, 48, 64)
MAX_QUEUE = 32
MIB = 2**20


@dataclass
class Tally:
    """What clients have seen; `memory` has (jobs done, MiB of the server, MiB of the worker)."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[int, float, float]] = field(default_factory=list)


def picture(height: int, width: int, seed: int) -> bytes:
    """A PNG of smooth colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))[1])


async def client(number: int, count: int, http: httpx.AsyncClient, tally: Tally, **options: str) -> None:
    """Asks for so many pictures, one after the other."""
    for turn in range(count):
        started = time.perf_counter()
        files = [("content", ("c.png", picture(36, 48, number))), ("style", ("s.png", picture(40, 40, 1000 + number)))]
        data = {"size": str(SIZES[(number + turn) % len(SIZES)]), "iterations": "3", "seed": str(turn), **options}
        job = await _accepted(http, files, data, tally)
        async with http.stream("GET", f"/v1/jobs/{job['id']}/events", params={"preview": "false"}) as answer:
            tally.statuses[answer.status_code] += 1
            async for _ in answer.aiter_lines():
                pass
        made = await http.get(f"/v1/jobs/{job['id']}/picture")
        tally.statuses[made.status_code] += 1
        if made.status_code != 200:
            tally.errors.append(made.text)
        tally.seconds.append(time.perf_counter() - started)


async def _accepted(http: httpx.AsyncClient, files: Any, data: dict[str, str], tally: Tally) -> Any:
    while True:
        answer = await http.post("/v1/jobs", files=files, data=data)
        tally.statuses[answer.status_code] += 1
        if answer.status_code == 202:
            return answer.json()
        if answer.status_code != 429:
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        await asyncio.sleep(0.1 + 0.2 * np.random.default_rng().random())


def resident(pid: int) -> float:
    """MiB of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def _watch(http: httpx.AsyncClient, server: int, tally: Tally, every: float) -> None:
    while True:
        text = (await http.get("/metrics")).text
        worker = re.search(r"^stylogram_worker_resident_bytes (\S+)", text, re.MULTILINE)
        tally.memory.append((len(tally.seconds), resident(server), float(worker[1]) / MIB if worker else 0.0))
        await asyncio.sleep(every)


async def load(url: str, server: int, clients: int, each: int, every: float = 1.0, **options: str) -> Tally:
    """So many clients at once, each with so many jobs."""
    tally = Tally()
    limits = httpx.Limits(max_connections=2 * clients + 2)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as http:
        watch = asyncio.create_task(_watch(http, server, tally, every))
        await asyncio.gather(*(client(number, each, http, tally, **options) for number in range(clients)))
        watch.cancel()
    return tally


def growth(memory: list[tuple[int, float, float]], jobs: int) -> dict[str, Any]:
    """The medians of the second and of the last fifth of the jobs, MiB; the first fifth fills caches."""
    made = {}
    for name, at in (("server", 1), ("worker", 2)):
        early = [row[at] for row in memory if jobs / 5 <= row[0] < 2 * jobs / 5]
        late = [row[at] for row in memory if row[0] >= 4 * jobs / 5]
        made[name] = {"early_mib": statistics.median(early), "late_mib": statistics.median(late),
                      "most_mib": max(row[at] for row in memory)}  # fmt: skip
    return made


def summary(tally: Tally, took: float) -> dict[str, Any]:
    """A record of one load."""
    cuts = statistics.quantiles(tally.seconds, n=20)
    return {
        "jobs": len(tally.seconds), "seconds": took, "jobs_an_hour": 3600 * len(tally.seconds) / took,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())}, "errors": tally.errors,
        "seconds_a_job": {"median": statistics.median(tally.seconds), "95th": cuts[18], "max": max(tally.seconds)},
        "memory": growth(tally.memory, len(tally.seconds)),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Start a server, load it, write the record; a part that is measured alone is put beside the other's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--each", type=int, default=4, help="jobs of each client")
    parser.add_argument("--jobs", type=int, default=500, help="jobs of the second load, by 8 clients")
    parser.add_argument("--part", choices=("clients", "jobs"), help="only one of the two loads")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(argv)
    loads = {"clients": (given.clients, given.each), "jobs": (8, -(-given.jobs // 8))}
    old = json.loads(given.output.read_text()) if given.part and given.output.exists() else {}
    record = {name: old[name] for name in loads if name in old}
    for name in [given.part] if given.part else loads:
        record[name] = _loaded(*loads[name])
        print(name, record[name], flush=True)
    write(given.output, {"sizes": SIZES, "iterations": 3, "network": "seednet", "max_queue": MAX_QUEUE, **record})
    return 0


def _loaded(clients: int, each: int) -> dict[str, Any]:
    """The record of one load on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", MAIN, "serve", "--port", "0", "--state", folder, "--max-queue", str(MAX_QUEUE),
                   "--min-free-mb", "0", "--keep", "100"]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
            try:
                assert server.stderr is not None
                url = server.stderr.readline().split()[0]
                started = time.perf_counter()
                tally = asyncio.run(load(url, server.pid, clients, each))
                return {"clients": clients, **summary(tally, time.perf_counter() - started)}
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(main())
