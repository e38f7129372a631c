"""Our matrix products against those of NumPy's BLAS, on the shapes of the style loss: python bench/gemm.py

Two products: the Gram matrix F Fᵀ, where NumPy too does half the work (it calls syrk), and D F of the gradient. The two
sides take turns, and a figure is the median of the ratios of neighbouring runs, with the quartiles: what the machine
does otherwise hits both. Before its turn each waits until the other's threads have gone to sleep (those of OpenBLAS
spin for a while after a call and would take a processor from us), and runs once untimed. A pair of runs during which
other processes were busy is repeated, where the system tells. The results go to bench/results/gemm.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stylogram import _core

Array = NDArray[np.float32]
#: Channels and positions of VGG-19's style layers for a picture of 512 px, and for one of 256 px.
SIZES = [(c, p // scale) for scale in (1, 4) for c, p in ((64, 262144), (128, 65536), (256, 16384), (512, 4096))]
RESULTS = Path(__file__).parent / "results" / "gemm.json"


PAUSE = 0.15  # seconds; OpenBLAS was seen to spin for 0.1


def seconds(work: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    work()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def others_seconds() -> float:
    """Processor seconds that other processes have used since the start; 0 where the system does not tell."""
    statistics_file = Path("/proc/stat")
    if not statistics_file.exists():
        return 0.0
    user, nice, system = statistics_file.read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def quiet_pair(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The seconds of both; others had at most 5% of one processor meanwhile, or this is the last of a hundred tries."""
    for _ in range(100):
        begin, others = time.perf_counter(), others_seconds()
        pair = seconds(first), seconds(second)
        if others_seconds() - others <= 0.05 * (time.perf_counter() - begin):
            break
    return pair


def by_turns(ours: Callable[[], object], numpys: Callable[[], object], repetitions: int) -> dict[str, Any]:
    """Milliseconds of each (median) and how many times NumPy's speed ours is: median and quartiles."""
    times = []
    for i in range(repetitions):
        swapped = i % 2 == 1
        pair = quiet_pair(numpys, ours) if swapped else quiet_pair(ours, numpys)
        times.append(pair[::-1] if swapped else pair)
    ratios = [theirs / own for own, theirs in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ours_ms": round(statistics.median(own for own, _ in times) * 1e3, 3),
        "numpy_ms": round(statistics.median(theirs for _, theirs in times) * 1e3, 3),
        "speed_over_numpy": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
    }


def measure(channels: int, positions: int, repetitions: int) -> dict[str, Any]:
    """Both products at one size, after a check that the two sides compute the same."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((channels, positions), dtype=np.float32)
    matrix = rng.standard_normal((channels, channels), dtype=np.float32)
    square, theirs = np.empty((1, channels, channels), np.float32), np.empty((channels, channels), np.float32)
    wide, their_wide = np.empty_like(features), np.empty_like(features)
    gram = by_turns(
        lambda: _core.gram(features[None], square), lambda: np.matmul(features, features.T, out=theirs), repetitions
    )
    product = by_turns(
        lambda: _core.matmul(matrix, features, wide), lambda: np.matmul(matrix, features, out=their_wide), repetitions
    )
    np.testing.assert_allclose(square[0] * positions, theirs, atol=1e-4 * np.abs(theirs).max())
    np.testing.assert_allclose(wide, their_wide, atol=1e-4 * np.abs(their_wide).max())
    return {"channels": channels, "positions": positions, "gram": gram, "product": product}


def cpu_model() -> str:
    """The processor's name, from the system where it says."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def blas() -> str:
    config: Any = np.show_config(mode="dicts")
    found = config["Build Dependencies"]["blas"]
    return f"{found['name']} {found['version']}"


def line(name: str, figures: dict[str, Any]) -> str:
    low, high = figures["quartiles"]
    times = f"ours {figures['ours_ms']:7.2f} ms, NumPy {figures['numpy_ms']:7.2f} ms"
    return f"{name:8} {times}, {figures['speed_over_numpy']:5.2f} times its speed ({low:.2f} to {high:.2f})"


def report(repetitions: int) -> dict[str, Any]:
    """All sizes, printed as they come."""
    rows = []
    for channels, positions in SIZES:
        row = measure(channels, positions, repetitions)
        rows.append(row)
        for name in ("gram", "product"):
            print(f"{channels:4} x {positions:6}  {line(name, row[name])}", flush=True)
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "blas": blas()},
        "simd": _core.simd(),
        "threads": _core.threads(),
        "repetitions": repetitions,
        "sizes": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = report(options.repetitions)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
