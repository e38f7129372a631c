"""A crew on a cluster that has no room: how long it waits, what it says meanwhile, and when it gives up."""

from types import SimpleNamespace

import pytest
from stylogram.batching import crew
from stylogram.batching.crew import Crew
from stylogram.batching.progress import Progress, Tally
from stylogram.commands.batch import _Screen
from stylogram.errors import Error


class Ray:
    """A cluster of nodes, `free` processors of which nobody has. Workers that are started never say a word."""

    def __init__(self, *nodes, free=0):
        self.table, self.free, self.started, self.killed = list(nodes), free, [], []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": float(cpus)} if cpus else {}} for cpus in self.table]

    def cluster_resources(self):
        return {"CPU": float(sum(self.table))} if any(self.table) else {}

    def available_resources(self):
        return {"CPU": float(self.free)} if self.free else {}

    def remote(self, worker):
        return self

    def options(self, **resources):
        self.started.append(resources["num_cpus"])
        actor = SimpleNamespace(hello=SimpleNamespace(remote=object))
        return SimpleNamespace(remote=lambda *given: actor)

    def kill(self, actor, no_restart):
        self.killed.append(actor)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when a test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(crew, "time", made := Clock())
    return made


def staffed(clock, made, seconds):
    """The crew after so many seconds, looking every other."""
    for _ in range(seconds // 2):
        clock.now += 2.0
        made.staff(8)
    return made


def test_without_workers_asked_for_an_empty_cluster_is_refused_at_once(clock):
    with pytest.raises(Error, match=r"^ray: the cluster has no processor for a worker; accepted: --workers N, for"):
        staffed(clock, Crew(Ray(0), None, 0, False), 2)


def test_workers_that_were_asked_for_are_waited_for_and_it_is_said(clock):
    ray = Ray(0)
    made = staffed(clock, Crew(ray, 2, 0, False), 20)
    assert (ray.started, made.waiting) == ([1, 1], "")
    said = "the cluster has no processor for a worker; a node is waited for, 900 s at most"
    assert staffed(clock, made, 20).waiting == said
    ray.table.append(4)  # one comes
    said = "no worker has started: each takes 1 of the cluster's 4 processors, 0 of them free"
    assert staffed(clock, made, 2000).waiting == said


def test_and_given_up_when_nothing_can_ever_be_placed(clock):
    made = staffed(clock, Crew(Ray(0), 2, 0, False), 890)
    with pytest.raises(Error) as raised:
        staffed(clock, made, 20)
    assert str(raised.value) == (
        "ray: the cluster has no processor for a worker, and had none for 900 s; accepted: a cluster that has"
    )


def test_processors_that_others_have_are_waited_for_without_end(clock):
    made = staffed(clock, Crew(Ray(4, 4, free=1), 2, 4, False), 100_000)
    assert made.waiting == "no worker has started: each takes 4 of the cluster's 8 processors, 1 of them free"
    made._hands[0].hello = SimpleNamespace(name="node/1")
    assert staffed(clock, made, 4).waiting == ""


def test_a_worker_that_no_node_can_take_any_more_is_started_anew(clock):
    ray = Ray(8)
    made = staffed(clock, Crew(ray, 1, 0, False), 4)
    ray.table[:] = [2]
    staffed(clock, made, 4)
    assert ray.started == [8, 2]
    assert len(ray.killed) == len(made._hands) == 1


def test_a_crew_that_loses_all_its_nodes_waits_five_minutes(clock):
    ray = Ray(4)
    made = staffed(clock, Crew(ray, None, 0, False), 4)
    ray.table.clear()
    staffed(clock, made, 290)
    with pytest.raises(Error, match="has no processor for a worker, and had none for 300 s; accepted: --workers"):
        staffed(clock, made, 20)


def test_the_screen_says_it_once(capsys):
    screen = _Screen(quiet=False)
    tally = Tally(3, 0, screen.look)
    for why in ("", "no node", "no node", "", "again"):
        tally.waiting(why)
        screen.look(Progress(3, 0, 0, 0, 0.0, 1.0, waiting=why))
    assert capsys.readouterr().err.splitlines() == ["waiting: no node", "waiting: again"]
