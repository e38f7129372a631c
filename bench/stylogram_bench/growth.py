"""How the cost of an iteration grows: with the pixels, with the pictures that go together, with L-BFGS's history.

VGG-19 to conv5_1 as in compare.py, against PyTorch in channels_last, by turns. L-BFGS is measured by itself, on a bowl
of a picture's size, when its history is full.
"""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stylogram.optimise import OPTIMISERS, Settings
from stylogram.session import aligned, kernel_threads

from .compare import Ours, picture, seconds_of, spread, theirs, weights

MODE = "channels_last"
SIDES = (128, 256, 512)
COUNTS = (1, 2, 4, 8)
HISTORIES = (5, 20, 100)
COUNTED_AT, HISTORY_AT = 128, 512  # pixels


def by_turns(runners: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round by round, after a call that is not counted."""
    for run in runners.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            times[name].append(seconds_of(run))
    return times


def compared(times: dict[str, list[float]], scale: float = 1.0) -> dict[str, Any]:
    """Median seconds, and PyTorch's over ours; PyTorch's times `scale` do the same work."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [scale * b / a for a, b in zip(times["ours"], times["pytorch"], strict=True)]
    return {"median_seconds": medians, "ratio": spread(ratios)}


def pixels(rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row for each of SIDES."""
    rows = []
    for side in SIDES:
        content, style = picture(side, 1), picture(side, 2)
        ours = Ours(weights(), content, style, threads)
        other = theirs(weights(), content, style, threads, MODE)
        rows.append({"size": side, **compared(by_turns({"ours": ours.iteration, "pytorch": other.iteration}, rounds))})
    return rows


def pictures(rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row for each of COUNTS; PyTorch works on one picture at a time."""
    content, style = picture(COUNTED_AT, 1), picture(COUNTED_AT, 2)
    other, rows = theirs(weights(), content, style, threads, MODE), []
    for count in COUNTS:
        ours = Ours(weights(), content, style, threads, count)
        times = by_turns({"ours": ours.iteration, "pytorch": other.iteration}, rounds)
        rows.append({"pictures": count, **compared(times, count)})
    return rows


class _Bowl:
    """Σ a x² / 2, a from 1 to 10,000: gradients as cheap as they come, and far from done when the history is full."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(0)
        self.curvature = (10 ** rng.uniform(0, 4, (1, 3 * size * size))).astype(np.float32)
        self.start = rng.standard_normal(self.curvature.shape, np.float32)

    def ours(self, history: int) -> Callable[[], float]:
        """Seconds of a step of ours, when it is called."""
        x, gradient = aligned(self.start.shape), aligned(self.start.shape)
        x[:] = self.start
        optimiser = OPTIMISERS["lbfgs"](1, x.size, Settings(history=history, backtrack=False))

        def step() -> float:
            np.multiply(self.curvature, x, out=gradient)
            return seconds_of(lambda: optimiser.step(x, gradient, np.zeros(1)))

        return step

    def pytorch(self, history: int) -> Callable[[], float]:
        """The same of torch.optim.LBFGS."""
        x = torch.from_numpy(self.start.copy()).requires_grad_()
        curvature = torch.from_numpy(self.curvature)
        optimiser = torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=history, tolerance_grad=0, tolerance_change=0)

        def step() -> float:
            x.grad = curvature * x.detach()
            return seconds_of(lambda: optimiser.step(lambda: torch.zeros(())))  # type: ignore[no-untyped-call]

        return step


def histories(rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row for each of HISTORIES, with the bytes of the pairs."""
    bowl, rows = _Bowl(HISTORY_AT), []
    torch.set_num_threads(threads)
    for history in HISTORIES:
        runners = {"ours": bowl.ours(history), "pytorch": bowl.pytorch(history)}
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(history + 1 + rounds):
            for name, run in runners.items():
                times[name].append(run())
        last = {name: values[-rounds:] for name, values in times.items()}
        rows.append({"history": history, "mebibytes": 2 * history * bowl.start.nbytes / 2**20, **compared(last)})
    return rows


def measured(rounds: int, threads: int) -> dict[str, Any]:
    """All three."""
    with kernel_threads(threads):
        shown = {"rounds": rounds, "pictures_size": COUNTED_AT, "history_size": HISTORY_AT}
        rows = {"pixels": pixels(rounds, threads), "pictures": pictures(rounds, threads)}
        return {**shown, **rows, "history": histories(rounds, threads)}
