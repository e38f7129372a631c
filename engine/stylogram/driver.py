"""The driver turns the crank: stages (one a scale), stop rules, callbacks, the best picture so far, the trace."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from .errors import Error
from .objective import Objective
from .optimise import Optimiser
from .result import Result
from .session import Array, available_threads, kernel_threads

R = TypeVar("R", bound=Result)
MakeStage = Callable[["Array | None"], "Stage"]

#: How many evaluations in a row may be non-finite while the optimiser takes them back.
PATIENCE = 12


@dataclass(frozen=True)
class Progress:
    """What a callback is given after every iteration. Iteration 0 of a scale is its initial picture.

    `loss` and `terms` are means over the pictures; `seconds` counts from the start of the run.
    """

    scale: int
    scales: int
    iteration: int
    iterations: int
    seconds: float
    loss: float
    terms: dict[str, float]
    pixel_range: float
    margin: int
    #: the present pictures (N,3,H,W) in [0, pixel_range] with their margin, a copy
    picture: Callable[[], Array] = field(repr=False)
    #: what the run would give if it stopped here: the best picture so far, in its colours, with its alpha and depth
    result: Callable[[], Result] = field(repr=False)

    def rgb(self, index: int = 0) -> Array:
        """The present picture number `index` as (H,W,3) in [0,1], as it is optimised: a quick look; see `result`."""
        return shown(self.picture()[index], self.pixel_range, self.margin)

    def row(self) -> dict[str, Any]:
        """The trace's row for it."""
        return {
            "scale": self.scale,
            "iteration": self.iteration,
            "seconds": round(self.seconds, 4),
            "loss": self.loss,
            "terms": self.terms,
        }


def shown(picture: Array, pixel_range: float, margin: int) -> Array:
    """A picture (3,H,W) in [0, pixel_range] as (H-2m,W-2m,3) in [0,1], its margin cut off."""
    inner = picture[:, margin : picture.shape[1] - margin, margin : picture.shape[2] - margin]
    rgb: Array = np.clip(inner.transpose(1, 2, 0) / np.float32(pixel_range), 0, 1)
    return rgb


Callback = Callable[[Progress], None]


@dataclass
class Stage:
    """One scale: what is minimised there, by what, for how long, in pixels of [0, pixel_range].

    `clamp` puts the picture back into that range after every step. `margin` is what a preview cuts off each side.
    """

    objective: Objective
    optimiser: Optimiser
    iterations: int
    pixel_range: float = 1.0
    clamp: bool = False
    margin: int = 0


@dataclass
class Outcome:
    """`pictures` (N,3,H,W), the best of each picture at the last scale that was reached, and the trace so far.

    `scale` and `iteration` are those of the latest picture that is among them.
    """

    pictures: Array
    trace: list[dict[str, Any]]
    scale: int = 0
    iteration: int = 0


class Diverged(Error):  # noqa: N818 -- says what happened, as KeyboardInterrupt does
    """The loss became NaN or infinite. `outcome` holds the last good picture; a task makes a `result` of it."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.result: Result | None = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run. `outcome` holds the best picture so far; a task makes a `result` of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("interrupted")
        self.outcome = outcome
        self.result: Result | None = None


class _Best:
    """The picture of the lowest loss so far, for each of the N pictures on its own."""

    def __init__(self, picture: Array) -> None:
        self.iteration = 0
        self.picture = picture.copy()
        self._loss = np.full(len(picture), np.inf)

    def look(self, objective: Objective, iteration: int) -> None:
        better = objective.total < self._loss
        self.iteration = iteration if better.any() else self.iteration
        if better.all():
            np.copyto(self.picture, objective.picture)
        elif better.any():
            self.picture[better] = objective.picture[better]
        np.fmin(self._loss, objective.total, out=self._loss)  # fmin: a NaN does not stay


class Driver:
    """Runs stages one after the other; the next is made from the picture of the one before.

    Stops early when a whole `window` of iterations lowers the loss by less than `tolerance` times it (0: never).
    `result` is the task's way from an outcome to its Result, for callbacks that want to see one in between; without it
    they get the first picture, its margin cut off.
    """

    def __init__(
        self,
        callback: Callback | None = None,
        *,
        tolerance: float = 0.0,
        window: int = 20,
        result: Callable[[Outcome], Result] | None = None,
    ) -> None:
        self._callback = callback
        self._tolerance = tolerance
        self._window = window
        self._result = result
        self._trace: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def run(self, stages: Iterable[MakeStage], scales: int) -> Outcome:
        """Run the stages. Each is called with the pictures (N,3,H,W) of the stage before, the first with None."""
        outcome: Outcome | None = None
        for number, make in enumerate(stages, 1):
            try:
                stage = make(None if outcome is None else outcome.pictures)
            except KeyboardInterrupt as error:
                if outcome is None:
                    raise
                raise Interrupted(outcome) from error
            outcome = self._run_stage(stage, number, scales)
        assert outcome is not None, "a run has at least one stage"
        return outcome

    def _run_stage(self, stage: Stage, scale: int, scales: int) -> Outcome:
        best = _Best(stage.objective.picture)
        bad = 0
        losses: list[float] = []
        try:
            for iteration in range(stage.iterations + 1):
                if iteration:
                    self._step(stage)
                stage.objective.evaluate()
                bad = 0 if stage.objective.finite() else bad + 1
                if bad:
                    self._check(stage, bad, scale, iteration, best)
                best.look(stage.objective, iteration)
                losses.append(self._report(stage, scale, scales, iteration, best))
                if self._flat(losses):
                    break
        except KeyboardInterrupt as error:
            raise Interrupted(self._outcome(best, scale)) from error
        return self._outcome(best, scale)

    def _outcome(self, best: _Best, scale: int) -> Outcome:
        return Outcome(best.picture, self._trace, scale, best.iteration)

    def _step(self, stage: Stage) -> None:
        objective = stage.objective
        stage.optimiser.step(objective.picture, objective.gradient, objective.total)
        if stage.clamp:
            np.clip(objective.picture, 0, stage.pixel_range, out=objective.picture)

    def _check(self, stage: Stage, bad: int, scale: int, iteration: int, best: _Best) -> None:
        if stage.optimiser.recovers and iteration and bad < PATIENCE:
            return
        terms = ", ".join(name for name, value in stage.objective.terms().items() if not np.isfinite(value))
        what = f"the loss became {stage.objective.total.max()} ({terms})" if terms else "the gradient became infinite"
        when = f"scale {scale}, iteration {iteration}" if iteration else "the initial picture"
        raise Diverged(
            f"{what} at {when}; try a smaller --learning-rate, another --optimizer, or smaller weights",
            self._outcome(best, scale),
        )

    def _made(self, stage: Stage, outcome: Outcome) -> Result:
        """The result of stopping at `outcome`; its trace does not grow with the run's."""
        outcome = replace(outcome, trace=list(outcome.trace))
        if self._result is not None:
            return self._result(outcome)
        return Result(shown(outcome.pictures[0], stage.pixel_range, stage.margin), outcome.trace)

    def _report(self, stage: Stage, scale: int, scales: int, iteration: int, best: _Best) -> float:
        objective = stage.objective
        loss = float(objective.total.mean())
        seconds = time.perf_counter() - self._started
        progress = Progress(
            scale, scales, iteration, stage.iterations, seconds, loss, objective.terms(), stage.pixel_range,
            stage.margin,
            objective.picture.copy,
            lambda: self._made(stage, self._outcome(best, scale)),
        )  # fmt: skip
        if np.isfinite(loss):
            self._trace.append(progress.row())
        if self._callback is not None:
            self._callback(progress)
        return loss

    def _flat(self, losses: list[float]) -> bool:
        if not self._tolerance or len(losses) <= self._window:
            return False
        before, now = min(losses[: -self._window]), min(losses[-self._window :])
        return before - now < self._tolerance * abs(now)


def run(
    stages: Iterable[MakeStage],
    count: int,
    result: Callable[[Outcome], R],
    *,
    threads: int,
    callback: Callback | None = None,
    tolerance: float = 0.0,
) -> R:
    """What a task gives: the `result` of running its `count` stages, the kernels on `threads` processors (0: all).

    Raises Error if `callback` cannot be called; Diverged or Interrupted, with `result` of the best so far in theirs.
    """
    if callback is not None and not callable(callback):
        raise Error(f"callback: a function of one Progress is accepted, got {callback!r}")
    try:
        with kernel_threads(threads or available_threads()):
            return result(Driver(callback, tolerance=tolerance, result=result).run(stages, count))
    except (Diverged, Interrupted) as stopped:
        stopped.result = result(stopped.outcome)
        raise
