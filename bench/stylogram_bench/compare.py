"""Ours against PyTorch: the same network, pictures, losses and optimiser, in one run, the two by turns.

The machine's speed drifts, so every figure is a ratio of neighbouring measurements, with its spread. Weights are random
(He-scaled): speed does not depend on them. What is timed is one whole iteration: forward, losses, backward, L-BFGS.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
STAGES = (2, 2, 4, 4, 1)  # VGG-19 to conv5_1


def weights(seed: int = 0) -> dict[str, Array]:
    """VGG-19's convolutions to conv5_1, He-scaled: {"conv1_1.weight": (64,3,3,3), "conv1_1.bias": (64), ...}."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    channels = 3
    for stage, (count, width) in enumerate(zip(STAGES, (64, 128, 256, 512, 512), strict=True), 1):
        for index in range(1, count + 1):
            scale = np.sqrt(2 / (9 * channels))
            tensors[f"conv{stage}_{index}.weight"] = (rng.standard_normal((width, channels, 3, 3)) * scale).astype("f4")
            tensors[f"conv{stage}_{index}.bias"] = np.zeros(width, "f4")
            channels = width
    return tensors


def picture(size: int, seed: int) -> Array:
    """A square picture (size,size,3) in [0,1] with structure at every scale: sums of blurred noise."""
    import cv2

    rng = np.random.default_rng(seed)
    total = np.zeros((size, size, 3), np.float32)
    for octave in range(7):
        side = max(size >> octave, 2)
        layer = rng.standard_normal((side, side, 3)).astype(np.float32) * 2.0 ** (octave / 2)
        total += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
    low, high = np.percentile(total, (1, 99))
    return np.asarray(np.clip((total - low) / (high - low), 0, 1), np.float32)


class Ours:
    """Stylogram's iteration on the same work as `baseline.Baseline`; `count` of the same picture together."""

    def __init__(self, tensors: dict[str, Array], content: Array, style: Array, threads: int, count: int = 1) -> None:
        from stylogram.session import give_back
        from stylogram.tasks.stylize import Options, Stylization
        from stylogram_export.models import vgg
        from stylogram_export.network import Network, save
        from stylogram_export.prepare import prepare
        from stylogram_export.preprocess import PREPROCESS

        with tempfile.TemporaryDirectory() as folder:  # from a file, as users have it: no second copy of the weights
            path = Path(folder) / "vgg19.onnx"
            model = prepare(vgg.graph("vgg19", STAGES, 4, tensors, "max"))
            save(Network("vgg19", model, PREPROCESS["imagenet"], vgg.layers(STAGES, 4)), path)
            del model
            options = Options(
                network=path, content_weight=1.0, style_weight=1.0, tv_weight=1.0, scales=1, margin=0,
                size=max(content.shape[:2]), threads=threads, history=100, precondition=1.0,
            )  # fmt: skip
            work = Stylization(content, [style], options)
            work.subjects *= count
            self._stage = work.stage(0, None)
        give_back()
        self._stage.objective.evaluate()

    def iteration(self) -> float:
        """One iteration; the loss after it."""
        objective = self._stage.objective
        self._stage.optimiser.step(objective.picture, objective.gradient, objective.total)
        objective.evaluate()
        return float(objective.total[0])

    def split(self) -> dict[str, float]:
        """Seconds so far in each part of the objective."""
        return dict(self._stage.objective.seconds)


def theirs(tensors: dict[str, Array], content: Array, style: Array, threads: int, mode: str) -> Any:
    """The PyTorch baseline of one mode."""
    from .baseline import Baseline, vgg19

    return Baseline(vgg19(tensors), content, style, mode=mode, threads=threads)


@dataclass(frozen=True)
class Case:
    """What is compared at one size, and how often."""

    size: int
    rounds: int
    threads: int


def seconds_of(step: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def iteration(case: Case) -> dict[str, Any]:
    """Seconds an iteration of ours and of every mode of PyTorch, by turns; ratios round by round against its best."""
    from .baseline import MODES

    tensors, content, style = weights(), picture(case.size, 1), picture(case.size, 2)
    ours = Ours(tensors, content, style, case.threads)
    runners: dict[str, Any] = {"ours": ours}
    skipped: dict[str, str] = {}
    for mode in MODES:
        try:
            runners[mode] = theirs(tensors, content, style, case.threads, mode)
            runners[mode].iteration()
        except Exception as error:  # torch.compile needs a compiler and fails in many ways: say which
            runners.pop(mode, None)
            skipped[mode] = " ".join(str(error).split())[:200]
    times: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        runner.iteration()
    before, stepping = ours.split(), 0.0
    for _ in range(case.rounds):
        for name, runner in runners.items():
            times[name].append(seconds_of(runner.iteration))
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min((name for name in medians if name != "ours"), key=medians.__getitem__)
    parts = {name: (value - before[name]) / case.rounds for name, value in ours.split().items()}
    stepping = statistics.fmean(times["ours"]) - sum(parts.values())
    return {
        "size": case.size,
        "rounds": case.rounds,
        "seconds": times,
        "median_seconds": medians,
        "best_of_pytorch": best,
        "not_run": skipped,
        "ratio": spread([b / a for a, b in zip(times["ours"], times[best], strict=True)]),
        "split_seconds": {**parts, "optimiser": stepping},
        "share_outside_network": (parts["losses"] + stepping) / statistics.fmean(times["ours"]),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, and the smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def time_to_loss(case: Case, iterations: int, mode: str) -> dict[str, Any]:
    """PyTorch runs `iterations`; ours until it is within 1% of the loss that PyTorch ended with. By turns, ten each."""
    tensors, content, style = weights(), picture(case.size, 1), picture(case.size, 2)
    runners = {"ours": Ours(tensors, content, style, case.threads)}
    runners[mode] = theirs(tensors, content, style, case.threads, mode)
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    clocks = dict.fromkeys(runners, 0.0)
    for _ in range(0, iterations, 10):
        for name, runner in runners.items():
            for _ in range(10):
                started = time.perf_counter()
                loss = runner.iteration()
                clocks[name] += time.perf_counter() - started
                curves[name].append((clocks[name], loss))
    goal = 1.01 * min(loss for _, loss in curves[mode])
    reached = {name: next((at for at, loss in curve if loss <= goal), None) for name, curve in curves.items()}
    total = curves[mode][-1][0]
    return {
        "size": case.size,
        "iterations": iterations,
        "mode": mode,
        "goal": goal,
        "pytorch_seconds": total,
        "seconds_to_goal": reached,
        "ratio_of_time": None if reached["ours"] is None else reached["ours"] / total,
        "curves": {name: [(round(at, 3), loss) for at, loss in curve[::10]] for name, curve in curves.items()},
    }


def peak_memory(who: str, case: Case) -> float:
    """Peak resident MiB of a process of its own that runs three iterations."""
    code = f"from stylogram_bench import compare; compare.three_iterations({who!r}, {case.size}, {case.threads})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def memory(case: Case) -> dict[str, Any]:
    """Peak memory of ours and of every mode of PyTorch, by turns, each in processes of its own."""
    from .baseline import MODES

    peaks: dict[str, list[float]] = {who: [] for who in ("ours", *MODES)}
    skipped: dict[str, str] = {}
    for _ in range(case.rounds):
        for who in peaks:
            try:
                peaks[who].append(round(peak_memory(who, case), 1))
            except subprocess.CalledProcessError as error:  # torch.compile again
                skipped[who] = str(error.stderr).strip().rpartition("\n")[2][:200]
    peaks = {who: values for who, values in peaks.items() if values}
    ratios = {who: spread([a / b for a, b in zip(peaks["ours"], peaks[who], strict=False)]) for who in peaks}
    return {"size": case.size, "rounds": case.rounds, "peak_mebibytes": peaks, "not_run": skipped, "ratio": ratios}


class _Given(dict[str, Array]):
    """Weights that are gone once they were read, so that neither side's memory holds the benchmark's own copy."""

    def __getitem__(self, name: str) -> Array:
        return self.pop(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self.pop(name, default)


def three_iterations(who: str, size: int, threads: int) -> None:
    """Print the peak resident MiB of this process after three iterations of `who`, "ours" or a mode of PyTorch."""
    make = Ours if who == "ours" else partial(theirs, mode=who)
    runner = make(_Given(weights()), picture(size, 1), picture(size, 2), threads)
    for _ in range(3):
        runner.iteration()
    try:
        # getrusage's figure outlives an exec: it would be the parent's.
        status = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
    except OSError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from stylogram import _core

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"python": platform.python_version()}
    for name in ("stylogram", "torch", "onnxruntime", "onnx", "numpy"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"cpu": cpu, "cores": os.cpu_count(), "simd": _core.simd(), "versions": versions}


def write(path: Path, record: dict[str, Any]) -> None:
    """The record as JSON, with date, command and machine; of absolute paths in the command the names alone."""
    from stylogram.files import atomic

    command = " ".join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)
    whole = {"date": date.today().isoformat(), "command": command, "machine": machine(), **record}
    with atomic(path) as file:
        file.write(json.dumps(whole, indent=1).encode() + b"\n")
