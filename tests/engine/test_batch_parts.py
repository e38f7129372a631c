"""A group in parts: who gets which jobs and how many processors, and what painting one does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import stylogram
from engine.batches import FAST, STEP
from stylogram import _core
from stylogram.batching import memory
from stylogram.batching.shared import Group, Shared
from stylogram.tasks.stylize import Options

OPTIONS = Options(**FAST)


@pytest.mark.parametrize(
    ("jobs", "processors", "expected"),
    [
        ("abcde", 3, [("ad", 0, 1), ("be", 1, 1), ("c", 2, 1)]),
        ("ab", 5, [("a", 0, 2), ("b", 1, 2)]),
        ("a", 4, [("a", 0, 4)]),
    ],
)
def test_a_group_is_painted_in_parts_at_once(jobs, processors, expected):
    meeting = threading.Barrier(len(expected), timeout=60)

    def paint(part, slot, threads):
        meeting.wait()
        return "".join(part), slot, threads

    with ThreadPoolExecutor(processors) as pool:
        parts = Shared(0).in_parts(list(jobs), OPTIONS, processors, pool, paint)
        assert [future.result() for _, future in parts] == expected
    assert [part for part, _ in parts] == [list(part) for part, _, _ in expected]


def test_on_a_gpu_a_group_is_painted_as_a_whole(monkeypatch):
    monkeypatch.setattr(Shared, "on_gpu", lambda *_: True)
    with ThreadPoolExecutor(2) as pool:
        ((part, future),) = Shared(0).in_parts([1, 2, 3], OPTIONS, 2, pool, lambda *given: given)
        assert (part, future.result()) == ([1, 2, 3], ([1, 2, 3], 0, 2))


def test_the_margin_takes_memory_too(here):
    shared = Shared(0)
    subject = shared.subject("c0.png", ["s0.png"], Options(**FAST, margin=8))
    model = shared.model(subject)
    size = (36 + 2 * 8, 48 + 2 * 8)
    assert shared.bytes_each(subject) == memory.bytes_a_picture(model, subject.taps.tensors, size, subject.recipe)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_part_is_painted_on_its_processors(here, threads):
    shared, seen = Shared(1e9), []
    options = {**FAST, "optimizer": "adam"}
    given = Options(**options), Options(**options, content_weight=1e300)  # of the other the loss is no number
    subjects = [shared.subject("c0.png", ["s0.png"], own) for own in given]
    group = Group(subjects, shared, 0, threads, shared.bytes_each(subjects[0]))
    before = _core.threads()
    made = group.paint(lambda progress: seen.append((progress.iteration, _core.threads())))
    assert seen == [(iteration, threads) for iteration in range(FAST["iterations"] + 1)]
    assert _core.threads() == before
    assert list(made.failed) == [1]
    alone = stylogram.stylize("c0.png", "s0.png", **options)
    assert np.abs(subjects[0].result(made.pictures[0], []).exact - alone.exact).max() < STEP
