"""The record of the benchmark on a GPU, without one: what is measured is replaced, when it is kept is not."""

import json
import time
from types import SimpleNamespace

import pytest
from stylogram_bench import gpu


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Runs the benchmark, each case of which takes a second by a clock of its own; returns what was kept, in turn."""
    clock = [0.0]
    kept = []

    def attempted(make, deadline, least=15):
        clock[0] += 1
        if clock[0] + least > deadline:
            return {"skipped": "no time is left"}
        return {"milliseconds": {"median": clock[0]}, "of": make.func.__name__}

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA Some GPU")
    monkeypatch.setattr(gpu.devices, "choose", lambda name: SimpleNamespace(place=SimpleNamespace(queue=None)))
    row = {"c": 64, "p": 9, "numbers": "tf32", "ours_us": 1.0, "cublas_us": 2.0, "ours_gb_s": 3.0}
    for name, stub in {
        "attempted": attempted,
        "rate": lambda kind: 378.0,
        "gram_kernels": lambda queue: [row],
        "whole_run": lambda *given: 0.9,
        "whole_capture": lambda *given: "works",
    }.items():
        monkeypatch.setattr(gpu, name, stub)
    monkeypatch.setattr(gpu.compare, "weights", dict)

    def run(seconds):
        record = gpu.measure(seconds, lambda record: kept.append(json.loads(json.dumps(record))))
        return record, kept

    return run


def test_every_case_is_kept_as_soon_as_it_is_measured(measured):
    record, kept = measured(10**3)
    assert [len(kept[k]["iteration"]["tf32"]) for k in (0, 1, 2)] == [1, 2, 3]  # ours, PyTorch's, then the floor too
    assert all(one["unfinished"] for one in kept[:-1])
    assert "unfinished" not in kept[-1]
    assert record["whole_iteration_captured"] == "works"
    assert record["seconds_of_500_iterations"] == dict.fromkeys(gpu.PRECISIONS, 0.9)
    for precision, cases in record["iteration"].items():
        wanted = {
            "cuda",
            "torch eager",
            "torch compile",
            "floor",
            "cuda, 16 pictures",
            "tensorrt",
            "cuda, channels first",
        }
        assert set(cases) >= wanted, precision
        assert cases["floor"]["milliseconds"]["median"] == 1.0
    said = gpu.table(record)
    assert said.startswith(
        "ours and PyTorch on NVIDIA Some GPU, 512 px, ms an iteration\n  tf32: cuda 1.000, torch eager"
    )
    assert "gram 64x9 tf32: 1.0 us, 3 GB/s; cuBLAS 2.0 us" in said


def test_what_there_is_no_time_for_is_left_out(measured):
    record, kept = measured(18)
    cases = record["iteration"]
    assert "milliseconds" in cases["tf32"]["cuda"]
    assert cases["fp16"]["torch compile"] == {"skipped": "no time is left"}
    assert record["seconds_of_500_iterations"] == {}
    assert "whole_iteration_captured" not in record
    assert "unfinished" not in kept[-1]
    assert "torch compile skipped" in gpu.table(record)
