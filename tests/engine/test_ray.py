"""Batches on a Ray cluster of two nodes: workers, nodes and drivers are killed; nothing is lost, nothing is twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import stylogram
from engine.batches import FAST, STEP, lines, rgb
from stylogram.batching import cluster as clusters
from stylogram.batching import connection, crew
from stylogram.batching.crew import Lost
from stylogram.errors import Error

from engine import deadly

pytest.importorskip("ray", reason="Ray is not installed: pip install 'stylogram[ray]'")
# Ray leaves files and processes to the interpreter's end.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
ATTEMPTS = 3
SLOW = {**FAST, "iterations": 100}  # so that a kill at the first iteration falls into the middle


class Machines:
    """A cluster of two nodes on this machine, of one processor each."""

    def __init__(self):
        self._start()

    def _start(self):
        """Ray gives a node 30 seconds to come up, which a machine at its limit may exceed."""
        from ray.cluster_utils import Cluster

        for attempt in range(ATTEMPTS):
            try:
                self._cluster = Cluster(initialize_head=True, connect=False, head_node_args=NODE)
                self.address = self._cluster.address
                self._add()
                return
            except Exception:  # Ray's own type for it
                if attempt == ATTEMPTS - 1:
                    raise

    def _add(self):
        self.second = self._cluster.add_node(**{name: NODE[name] for name in ("num_cpus", "object_store_memory")})

    def two(self):
        """With a second node, if it was removed."""
        if self.second is None:
            try:
                self._add()
            except Exception:
                self.close()
                self._start()
        return self

    def remove(self):
        """The second node, as if its plug were pulled."""
        self._cluster.remove_node(self.second, allow_graceful=False)
        self.second = None

    def close(self):
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def machines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        made = Machines()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Every iteration is told, and a cluster on a busy machine may take its time to answer."""
    monkeypatch.setattr(crew, "NEWS", 0.0)
    monkeypatch.setattr(connection, "ANSWER", 240.0)


def rows(count):
    return [
        {"content": f"c{k % 3}.png", "style": f"s{k % 2}.png", "output": f"{k}.png", "seed": k} for k in range(count)
    ]


def patched(monkeypatch, strike=None, node=None):
    """A crew that begins when both workers are there. `strike(hand)` is called at a worker's first work.

    `node`: of a worker on that node.
    """

    class Both(crew.Crew):
        lost = 0
        began = struck = False

        def idle(self):
            self.began |= len(self._hands) == 2 and all(hand.idle for hand in self._hands)
            return super().idle() if self.began else []

        def news(self):
            found = super().news()
            for hand, news in found:
                Both.lost += isinstance(news, Lost)
                if strike and not self.struck and getattr(news, "running", 0) and node in (None, hand.hello.node):
                    self.struck = True
                    strike(hand)
            return found

    monkeypatch.setattr(clusters, "Crew", Both)
    return Both


def check(count):
    """Each picture is there, and has one line, without an error."""
    names = sorted(f"{k}.png" for k in range(count))
    assert sorted(row["output"] for row in lines()) == names
    assert [row["error"] for row in lines()] == [None] * count
    assert sorted(path.name for path in Path("out").iterdir() if path.suffix == ".png") == names
    assert all(rgb(f"out/{name}").shape == (36, 48, 3) for name in names)


def test_two_workers_paint_what_one_machine_does(here, machines, monkeypatch):
    patched(monkeypatch)
    seen = []
    more = [{"content": "square.png", "style": "s0.png", "output": "square.png", "init": "c0.png"}]
    more += [{"content": "none.png", "style": "s0.png", "output": "none.png"}]
    given = {**FAST, "batch": 2, "workers": 2, "ray": machines.two().address, "callback": seen.append}
    made = stylogram.batch([*rows(6), *more], output="out", **given)
    assert (made.done, made.kept) == (7, 0)
    ((place, why),) = made.failures
    assert (place, "there is no file" in why) == ("row 8", True)
    there = {row["output"]: row for row in lines()}
    assert len({there[f"{k}.png"]["worker"] for k in range(6)}) == 2
    alone = stylogram.batch([*rows(6), *more[:1]], output="alone", **FAST)
    assert alone.done == 7
    for row in lines("alone"):
        name = row["output"]
        assert np.abs(rgb(f"out/{name}") - rgb(f"alone/{name}")).max() < STEP, name
        assert there[name]["loss"] == pytest.approx(row["loss"], rel=1e-3)
        assert there[name]["job"] == row["job"]
    assert any(progress.running > 0 for progress in seen)
    assert (seen[-1].done, seen[-1].failed, seen[-1].running) == (7, 1, 0)
    assert stylogram.batch(rows(6), output="out", **{**given, "callback": None}).kept == 6


def test_a_worker_killed_in_the_middle(here, machines, monkeypatch):
    both = patched(monkeypatch, lambda hand: os.kill(hand.hello.pid, signal.SIGKILL))
    made = stylogram.batch(rows(6), output="out", batch=2, workers=2, ray=machines.two().address, **SLOW)
    assert (made.done, made.failures, both.lost) == (6, (), 1)
    check(6)


def test_a_node_removed_in_the_middle(here, machines, monkeypatch):
    both = patched(monkeypatch, lambda hand: machines.remove(), machines.two().second.node_id)
    made = stylogram.batch(rows(6), output="out", batch=2, workers=2, ray=machines.address, **SLOW)
    assert (made.done, made.failures) == (6, ())
    assert both.lost >= 1
    check(6)


DRIVER = """
import sys, stylogram
look = lambda progress: print(progress.done, flush=True)
given = {"network": "net.onnx", "size": 48, "iterations": 60, "batch": 2, "ray": sys.argv[1], "callback": look}
jobs = [{"content": "c0.png", "style": "s0.png", "output": f"{k}.png", "seed": k} for k in range(6)]
made = stylogram.batch(jobs, output="out", **given)
print("made", made.done, made.kept, len(made.failures), flush=True)
"""


def test_a_driver_killed_in_the_middle(here, machines):
    command = [sys.executable, "-c", DRIVER, machines.two().address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert any(line.strip() == "1" for line in process.stdout)
        process.kill()
        process.stdout.read()
    done = [row["output"] for row in lines() if row["error"] is None]
    assert 0 < len(done) < 6
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines()[-1] == f"made {6 - len(done)} {len(done)} 0"
    check(6)


def test_a_job_that_kills_its_worker_again_and_again(here, machines, monkeypatch):
    monkeypatch.setattr(crew, "Worker", deadly.Deadly)
    monkeypatch.setattr(clusters, "TRIES", 2)
    given = [*rows(3), {"content": "c0.png", "style": "s0.png", "output": deadly.DEADLY}]
    made = stylogram.batch(given, output="out", batch=4, workers=1, ray=machines.address, **FAST)
    assert made.done == 3
    ((place, why),) = made.failures
    assert place == "row 4"
    assert why.startswith("2 workers were lost while they had it, the last ")
    assert Counter(row["output"] for row in lines()) == Counter(["0.png", "1.png", "2.png", deadly.DEADLY])


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        (deadly.Broken, "ray: a worker cannot start: .*No module named 'cv2'"),
        (deadly.Old, f"has stylogram 0.0.1, here is {stylogram.__version__}; accepted: the same on every node"),
    ],
)
def test_nodes_on_which_no_worker_can_start(here, machines, monkeypatch, worker, message):
    monkeypatch.setattr(crew, "Worker", worker)
    with pytest.raises(Error, match=message):
        stylogram.batch(rows(2), output="out", workers=1, ray=machines.address, **FAST)


def test_a_connection_that_the_program_has_is_used_and_kept(here, machines):
    import ray

    stylogram.batch(rows(1), output="out", **FAST)
    ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
    try:
        for address in ("auto", ray.get_runtime_context().gcs_address):
            assert stylogram.batch(rows(1), output="out", ray=address, **FAST).kept == 1
            assert ray.is_initialized()
        with pytest.raises(Error, match=r"this program is connected to .* already; accepted: auto or that, got '1:2'"):
            stylogram.batch(rows(1), output="out", ray="1:2", **FAST)
    finally:
        ray.shutdown()
    assert stylogram.batch(rows(1), output="out", ray=machines.address, **FAST).kept == 1
    assert not ray.is_initialized()


def test_a_network_that_does_not_come_is_one_line(here, machines, monkeypatch):
    monkeypatch.setattr(crew, "Worker", deadly.Cut)
    with pytest.raises(Error, match=r"^ray: the network did not reach .*/\d+: .*was cut$") as raised:
        stylogram.batch(rows(2), output="out", workers=1, ray=machines.address, **FAST)
    assert type(raised.value) is Error
    assert "\n" not in str(raised.value)
    assert lines() == []


def test_processors_that_somebody_else_has_are_waited_for_and_it_is_said(here, machines, monkeypatch):
    import ray

    said = []

    def look(progress):
        if progress.waiting and not said:
            said.append(progress.waiting)
            for holder in holders:
                ray.kill(holder)

    monkeypatch.setattr(crew, "SAY", 0.5)
    ray.init(address=machines.two().address, log_to_driver=False, logging_level="ERROR")
    try:
        holders = [ray.remote(deadly.Holder).options(num_cpus=1).remote() for _ in range(2)]
        ray.get([holder.ready.remote() for holder in holders])
        made = stylogram.batch(rows(1), output="out", ray="auto", workers=1, callback=look, **FAST)
    finally:
        ray.shutdown()
    assert (made.done, made.failures) == (1, ())
    assert said == ["no worker has started: each takes 1 of the cluster's 2 processors, 0 of them free"]
