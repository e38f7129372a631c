"""Losses, TV and L-BFGS of one build of the kernels against another's: python bench/kernel_builds.py BEFORE.so AFTER.so

Both are files of `stylogram._core`. Each round runs both, each in a process of its own, by turns; a process measures
every kernel on the shapes of VGG-19 for a picture of 512 px and one of 256 px. A figure is the ratio of a round's two
medians, and over the rounds its median and its spread. The results go to bench/results/kernels.json.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "kernels.json"
SIZES = (512, 256)
#: Channels of VGG-19's style layers, and what their sides are of the picture's.
STYLE = ((64, 1), (128, 2), (256, 4), (512, 8), (512, 16))
PAIRS = 10  # of L-BFGS
FLUSHED = 1 << 24  # floats read before each call: what the network does to the caches between two of ours


def load(path: str) -> Any:
    """The module in this file."""
    spec = importlib.util.spec_from_file_location("_core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def median_seconds(call: Callable[[], object], flushed: Any, repetitions: int) -> float:
    """The median of some calls, each after the caches were filled with something else."""
    times = []
    for _ in range(repetitions):
        flushed.sum()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def style_layer(core: Any, channels: int, side: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    features = rng.random((1, channels, side * side), np.float32)
    target, gram = np.zeros((2, 1, channels, channels), np.float32)
    gradient, scale, value = np.zeros_like(features), np.ones(1), np.zeros(1)
    return lambda: core.gram_loss(features, target, scale, scale, gram, gradient, value, False, None)


def content_layer(core: Any, channels: int, side: int) -> Callable[[], object]:
    features, target = np.random.default_rng(0).random((2, 1, channels * side * side), np.float32)
    gradient, scale, value = np.zeros_like(features), np.ones(1), np.zeros(1)
    return lambda: core.feature_loss(features, target, scale, gradient, value, False, None)


def smoothness(core: Any, side: int) -> Callable[[], object]:
    picture = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    gradient, value = np.zeros_like(picture), np.zeros(1)
    return lambda: core.tv(picture, "anisotropic", 2.0, 1e-6, gradient, value)


def quasi_newton(core: Any, side: int) -> Callable[[], object]:
    """Steps down a bowl of unequal slopes; those measured find all pairs there."""
    curvature = np.linspace(1, 10, 3 * side * side, dtype=np.float32)[None]
    picture = np.random.default_rng(0).random(curvature.shape, np.float32)
    gradient, value = np.empty_like(picture), np.zeros(1)
    state = core.Lbfgs(1, picture.size, PAIRS, learning_rate=0.1, backtrack=False)

    def step() -> None:
        state.step(picture, gradient, value)
        np.multiply(curvature, picture, out=gradient)

    np.multiply(curvature, picture, out=gradient)
    for _ in range(PAIRS + 2):
        step()
    return lambda: state.step(picture, gradient, value)  # the gradient is an old one: as much work


def measure(path: str, repetitions: int) -> dict[str, float]:
    """Milliseconds of each kernel of the build in `path`."""
    core, flushed = load(path), np.ones(FLUSHED, np.float32)
    found: dict[str, float] = {}
    for size in SIZES:
        calls = {f"style {c} x {(size // s) ** 2}": style_layer(core, c, size // s) for c, s in STYLE}
        calls |= {"content": content_layer(core, 512, size // 8), "tv": smoothness(core, size)}
        calls |= {f"L-BFGS, {PAIRS} pairs": quasi_newton(core, size)}
        for name, call in calls.items():
            call()
            found[f"{size} px, {name}"] = 1e3 * median_seconds(call, flushed, repetitions)
        found[f"{size} px, together"] = sum(found[f"{size} px, {name}"] for name in calls)
    return found


def report(before: Path, after: Path, rounds: int, repetitions: int) -> dict[str, Any]:
    """Every kernel's milliseconds and how many times faster it became, from rounds by turns."""
    from stylogram_bench.compare import spread

    runs: dict[Path, list[dict[str, float]]] = {before: [], after: []}
    for _ in range(rounds):
        for path, found in runs.items():
            command = [sys.executable, __file__, "--measure", str(path), "--repetitions", str(repetitions)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout))
    rows: dict[str, Any] = {}
    for name in runs[before][0]:
        old, new = ([run[name] for run in runs[path]] for path in (before, after))
        times = {"before_ms": statistics.median(old), "after_ms": statistics.median(new)}
        ratio = spread([a / b for a, b in zip(old, new, strict=True)])
        rows[name] = {key: round(value, 3) for key, value in times.items()}
        rows[name]["ratio"] = {key: round(value, 3) for key, value in ratio.items()}
        print(f"{name:26} {times['before_ms']:7.2f} -> {times['after_ms']:7.2f} ms, {rows[name]['ratio']}", flush=True)
    return {"rounds": rounds, "repetitions": repetitions, "kernels": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("builds", nargs="*", type=Path, metavar="FILE", help="BEFORE and AFTER")
    parser.add_argument("--measure", help="print one build's milliseconds as JSON, and nothing else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.repetitions)))
        return
    if len(options.builds) != 2:
        parser.error("two files are needed: BEFORE and AFTER")
    from stylogram_bench.compare import write

    before, after = options.builds
    write(options.output, report(before, after, options.rounds, options.repetitions))


if __name__ == "__main__":
    main()
