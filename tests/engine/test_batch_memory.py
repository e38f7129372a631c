"""Batches and memory: how many pictures go together, and half as many where it runs out."""

import numpy as np
import pytest
import stylogram
from engine.batches import FAST, STEP, four, jobs, lines, rgb
from stylogram import batching
from stylogram.batching import memory, shared
from stylogram.errors import Error
from stylogram.stages import StagedPass


class Scarce(StagedPass):
    """As ONNX Runtime fails when a batch is too large."""

    most = 1
    tried: list[int] = []  # noqa: RUF012

    def __init__(self, model, taps, shape, **options):
        self.tried.append(shape[0])
        super().__init__(model, taps, shape, **options)

    def forward(self):
        if self.shape[0] > self.most:
            raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 99")
        super().forward()


def test_where_memory_runs_out_half_as_many_go_together(here, monkeypatch):
    monkeypatch.setattr(Scarce, "tried", tried := [])
    monkeypatch.setattr(Scarce, "most", 2)
    monkeypatch.setattr(shared, "StagedPass", Scarce)
    rows = [{"content": f"c{k % 3}.png", "output": f"{k}.png", "seed": k} for k in range(16)]
    made = stylogram.batch(jobs(here, *rows), output="out", batch=8, **{**FAST, "threads": 1})
    assert (made.done, made.failures) == (16, ())
    assert tried == [8, 4, 2]  # and the second eight were not tried again
    assert sorted(row["output"] for row in lines()) == sorted(f"{k}.png" for k in range(16))
    alone = stylogram.stylize("c1.png", "s0.png", seed=13, **FAST)
    assert np.abs(rgb("out/13.png") - alone.exact).max() < STEP


@pytest.mark.parametrize("threads", [1, 0])
def test_a_picture_for_which_there_is_no_memory_fails(here, monkeypatch, threads):
    monkeypatch.setattr(Scarce, "most", 0)
    monkeypatch.setattr(shared, "StagedPass", Scarce)
    made = stylogram.batch(four(here), output="out", batch=4, **{**FAST, "threads": threads})
    assert made.done == 0
    assert len(made.failures) == 4
    assert all("out of memory for one picture alone" in error for _, error in made.failures)


def test_what_running_out_of_memory_looks_like():
    assert memory.ran_out(MemoryError())
    assert memory.ran_out(RuntimeError("std::bad_alloc"))
    assert not memory.ran_out(Error("unknown preset"))


def test_the_estimate_counts_the_arrays_of_a_pass(here):
    """What goes from one model to another and the picture are in it; a batch by itself fits into its share."""
    options = batching.Options(**FAST)
    subject = shared.Shared(0).subject("c0.png", ["s0.png"], options)
    model = shared.Shared(0).model(subject)
    each = memory.bytes_a_picture(model, subject.taps.tensors, (36, 48), subject.recipe)
    pass_ = StagedPass(model, subject.taps.tensors, (1, 3, 36, 48))
    (block,) = {id(array.base): array.base for array in (*pass_.features.values(), *pass_.gradients.values())}.values()
    held = block.nbytes + pass_.picture.nbytes + pass_.gradient.nbytes
    vectors = (2 * (6 + 1) + 1) * pass_.picture.nbytes
    assert held + vectors < each < 8 * (held + vectors)
    larger = memory.bytes_a_picture(model, subject.taps.tensors, (72, 96), subject.recipe)
    assert larger / each == pytest.approx(4, rel=0.05)
    assert memory.fitting(each, 10 * each) == 5
    assert memory.fitting(each, 0.5 * each) == 1
    assert memory.fitting(each, 1e6 * each) == memory.MOST
    assert 0 < memory.available() < 2**50
