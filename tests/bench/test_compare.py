"""The measurements by turns: what they count, and that both sides do the same work. Networks are narrow here."""

import importlib
import itertools
import statistics
import subprocess
from typing import Any

import numpy as np
import pytest
from stylogram.errors import Error
from stylogram_export.network import save

pytest.importorskip("torch", reason="the comparison is with PyTorch")
baseline = importlib.import_module("stylogram_bench.baseline")
batch = importlib.import_module("stylogram_bench.batch")
compare = importlib.import_module("stylogram_bench.compare")
growth = importlib.import_module("stylogram_bench.growth")
report = importlib.import_module("stylogram_bench.report")

MODES = ("contiguous", "channels_last")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of VGG-19's channels, no torch.compile."""
    from engine import nets

    made = nets.weights(compare.STAGES, (4, 8, 16, 32, 32))
    monkeypatch.setattr(compare, "weights", lambda: dict(made))
    monkeypatch.setattr(growth, "weights", lambda: dict(made))
    monkeypatch.setattr(baseline, "MODES", MODES)


def test_an_iteration_is_compared_round_by_round_with_the_best() -> None:
    found = compare.iteration(compare.Case(64, 3, 1))
    times, best = found["seconds"], found["best_of_pytorch"]
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys(("ours", *MODES), 3)
    assert found["median_seconds"][best] == min(statistics.median(times[mode]) for mode in MODES)
    ratios = [b / a for a, b in zip(times["ours"], times[best], strict=True)]
    assert found["ratio"] == {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    parts = found["split_seconds"]
    assert sum(parts.values()) == pytest.approx(statistics.fmean(times["ours"]))
    assert 0 < found["share_outside_network"] < 1
    assert report.tables("iteration_64", found)[0].rows[0][0] == "ours"


def test_time_to_a_loss_is_of_the_same_loss() -> None:
    found = compare.time_to_loss(compare.Case(64, 1, 1), 20, "contiguous")
    (_, first), (_, other) = (found["curves"][who][0] for who in ("ours", "contiguous"))
    assert first == pytest.approx(other, rel=1e-3)
    assert found["seconds_to_goal"]["contiguous"] <= found["pytorch_seconds"]


def test_what_fails_in_one_mode_is_said_and_the_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(who: str, case: Any) -> float:
        if who == "channels_last":
            raise subprocess.CalledProcessError(1, "python", stderr="Traceback\nRuntimeError: no compiler")
        return {"ours": 60.0, "contiguous": 100.0}[who]

    monkeypatch.setattr(compare, "peak_memory", peak)
    found = compare.memory(compare.Case(64, 2, 1))
    assert found["peak_mebibytes"] == {"ours": [60.0, 60.0], "contiguous": [100.0, 100.0]}
    assert found["not_run"] == {"channels_last": "RuntimeError: no compiler"}
    assert found["ratio"]["contiguous"]["median"] == 0.6


def test_growth_counts_pixels_pictures_and_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SIDES", (48, 64)), ("COUNTS", (1, 3)), ("HISTORIES", (2, 4)), ("COUNTED_AT", 48)):
        monkeypatch.setattr(growth, name, value)
    monkeypatch.setattr(growth, "HISTORY_AT", 32)
    found = growth.measured(2, 1)
    assert [row["size"] for row in found["pixels"]] == [48, 64]
    assert [row["pictures"] for row in found["pictures"]] == [1, 3]
    assert [row["mebibytes"] for row in found["history"]] == [2 * n * 3 * 32 * 32 * 4 / 2**20 for n in (2, 4)]
    assert [len(table.rows) for table in report.tables("growth", found)] == [2, 2, 2]


def test_three_pictures_together_are_three_pictures() -> None:
    content, style = compare.picture(48, 1), compare.picture(48, 2)
    one, three = (compare.Ours(compare.weights(), content, style, 1, count) for count in (1, 3))
    for _ in range(3):
        assert one.iteration() == pytest.approx(three.iteration(), rel=1e-4)
    assert three._stage.objective.total.shape == (3,)


def test_batches_are_measured_beside_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {None: 4.0, "pytorch": 8.0, 2: 2.0}  # seconds an iteration and picture
    monkeypatch.setattr(batch, "others", lambda: 0.0)
    monkeypatch.setattr(batch, "seconds", lambda jobs, way, options: cost[way] * options["iterations"] * len(jobs))
    found = batch.measure("random", 64, 3, (1, 3), [2], 2)
    assert [row["batch"] for row in found["rows"]] == [None, "pytorch", 2]
    for row in found["rows"]:
        assert row["ratio"][3]["median"] == row["computed_ratio_at_300"] == 4.0 / cost[row["batch"]]
        assert row["seconds_an_iteration"] == cost[row["batch"]]
    assert [row[0] for row in report.tables("batch", found)[0].rows] == ["one at a time", "PyTorch, one at a time", "2"]


def test_a_busy_machine_gives_no_record_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = itertools.count(step=100.0)
    monkeypatch.setattr(batch, "others", lambda: next(busy))
    monkeypatch.setattr(batch, "measured", lambda *_: [])
    with pytest.raises(Error, match="other work took"):
        batch.measure("random", 64, 2, (1, 3), [2], 1)


def test_pytorch_makes_the_batch_s_pictures_too(tmp_path: Any) -> None:
    from stylogram import pictures

    from engine import nets

    save(nets.narrow(), tmp_path / "net.onnx")
    jobs = batch.rows(tmp_path, 1, 64)
    batch.pytorch(jobs, tmp_path, {"network": str(tmp_path / "net.onnx"), "size": 64, "iterations": 4})
    for job in jobs:
        made, content = pictures.read(tmp_path / job["output"]).rgb, pictures.read(job["content"]).rgb
        assert made.shape == content.shape
        assert np.abs(made - content).max() > 0.01
