"""The driver turns the crank: stages (one a scale), stop rules, callbacks, the best picture so far, the trace."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import Error
from .objective import Failed, Total, Values
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
    #: the loss of each picture; of one that has stopped, its best
    losses: tuple[float, ...] = ()

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
Flags = NDArray[np.bool_]


@dataclass
class Stage:
    """One scale: what is minimised there, by what, for how long, in pixels of [0, pixel_range].

    `clamp` puts the picture back into that range after every step. `margin` is what a preview cuts off each side.
    `best` keeps the best pictures, if something else than host memory does.
    """

    objective: Total
    optimiser: Optimiser
    iterations: int
    pixel_range: float = 1.0
    clamp: bool = False
    margin: int = 0
    best: "Best | None" = None


@dataclass
class Outcome:
    """`pictures` (N,3,H,W), the best of each picture at the last scale that was reached, and the trace so far.

    `scale` and `iteration` are those of the latest picture that is among them. `losses` (N) are theirs. `failed` says
    why a picture was given up, by its number: see Driver's `apart`.
    """

    pictures: Array
    trace: list[dict[str, Any]]
    scale: int = 0
    iteration: int = 0
    losses: Values = field(default_factory=lambda: np.zeros(0))
    failed: dict[int, str] = field(default_factory=dict)


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


class Best(Protocol):
    """The picture of the lowest loss so far, for each of the N pictures on its own."""

    iteration: int
    loss: Values

    @property
    def picture(self) -> Array:
        """(N,3,H,W)."""

    def look(self, objective: Total, iteration: int, going: Flags) -> None:
        """After an evaluation; only pictures that are `going` change."""


class _Best:
    """Best in host memory."""

    def __init__(self, picture: Array) -> None:
        self.iteration = 0
        self.picture = picture.copy()
        self.loss = np.full(len(picture), np.inf)

    def look(self, objective: Total, iteration: int, going: Flags) -> None:
        better = (objective.total < self.loss) & going  # a NaN is not less
        self.iteration = iteration if better.any() else self.iteration
        if better.all():
            np.copyto(self.picture, objective.picture)
        elif better.any():
            self.picture[better] = objective.picture[better]
        self.loss[better] = objective.total[better]


def _lost(objective: Total, pictures: NDArray[np.intp]) -> str:
    """What is no number in the losses or gradients of some pictures."""
    total = objective.total[pictures]
    if np.isfinite(total).all():
        return "the gradient became infinite"
    terms = ", ".join(name for name, value in objective.terms().items() if not np.isfinite(value))
    return f"the loss became {total.max()}" + (f" ({terms})" if terms else "")


class _Course:
    """How the N pictures of a stage fare: which go on, since when each is not finite, and their losses."""

    def __init__(self, count: int, failed: dict[int, str]) -> None:
        self.going: Flags = np.array([at not in failed for at in range(count)])
        self.bad = np.zeros(count, int)
        self._recent: deque[Values] = deque()  # the losses of the last window
        self._before = np.full(count, np.nan)  # the least of those before it

    def count_bad(self, objective: Total) -> None:
        """How many evaluations in a row were not finite, of each picture that goes on."""
        finite: Flags = objective.finite_each()
        self.bad = np.where(finite | ~self.going, 0, self.bad + 1)

    def losses(self, objective: Total, best: Best) -> Values:
        """The present ones; of pictures that have stopped, their best."""
        return np.where(self.going, objective.total, best.loss)

    def stop_flat(self, total: Values, tolerance: float, window: int) -> None:
        """Pictures that a whole window lowered by less than the tolerance stop, each by its own losses."""
        if not tolerance:
            return
        self._recent.append(total.copy())
        if len(self._recent) > window:
            self._before = np.fmin(self._before, self._recent.popleft())
            now = np.fmin.reduce(self._recent)
            self.going &= ~(self._before - now < tolerance * np.abs(now))


class Driver:
    """Runs stages one after the other; the next is made from the picture of the one before.

    A picture stops early when a whole `window` of iterations lowers its loss by less than `tolerance` times it
    (0: never); the stage ends when all have. With `apart`, a picture whose loss is no longer a number is given up
    alone: it keeps its best, the outcome says why, and the others go on; without, that is Diverged.
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
        apart: bool = False,
    ) -> None:
        self._callback = callback
        self._tolerance = tolerance
        self._window = window
        self._result = result
        self._apart = apart
        self._failed: dict[int, str] = {}
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
            except Failed as error:
                if outcome is None:
                    raise
                raise Diverged(str(error), outcome) from error
            outcome = self._run_stage(stage, number, scales)
        assert outcome is not None, "a run has at least one stage"
        return outcome

    def _run_stage(self, stage: Stage, scale: int, scales: int) -> Outcome:
        best: Best = stage.best or _Best(stage.objective.picture)
        course = _Course(len(best.loss), self._failed)
        try:
            for iteration in range(stage.iterations + 1):
                if iteration:
                    self._step(stage)
                stage.objective.evaluate()
                course.count_bad(stage.objective)
                if course.bad.any():
                    self._check(stage, course, scale, iteration, best)
                best.look(stage.objective, iteration, course.going)
                self._report(stage, course, scale, scales, iteration, best)
                course.stop_flat(stage.objective.total, self._tolerance, self._window)
                if not course.going.any():
                    break
        except KeyboardInterrupt as error:
            raise Interrupted(self._outcome(best, scale)) from error
        except Failed as error:
            raise Diverged(str(error), self._outcome(best, scale)) from error
        return self._outcome(best, scale)

    def _outcome(self, best: Best, scale: int) -> Outcome:
        return Outcome(best.picture, self._trace, scale, best.iteration, best.loss, dict(self._failed))

    def _step(self, stage: Stage) -> None:
        objective = stage.objective
        objective.move(stage.optimiser)
        if stage.clamp:
            np.clip(objective.picture, 0, stage.pixel_range, out=objective.picture)

    def _check(self, stage: Stage, course: _Course, scale: int, iteration: int, best: Best) -> None:
        patience = PATIENCE if stage.optimiser.recovers and iteration else 1
        lost = np.flatnonzero(course.bad >= patience)
        if not lost.size:
            return
        when = f"scale {scale}, iteration {iteration}" if iteration else "the initial picture"
        advice = "try a smaller --learning-rate, another --optimizer, or smaller weights"
        if not self._apart:
            raise Diverged(f"{_lost(stage.objective, lost)} at {when}; {advice}", self._outcome(best, scale))
        for at in lost:
            self._failed[int(at)] = f"{_lost(stage.objective, np.array([at]))} at {when}; {advice}"
        course.going[lost] = False

    def _made(self, stage: Stage, outcome: Outcome) -> Result:
        """The result of stopping at `outcome`; its trace does not grow with the run's."""
        outcome = replace(outcome, trace=list(outcome.trace))
        if self._result is not None:
            return self._result(outcome)
        return Result(shown(outcome.pictures[0], stage.pixel_range, stage.margin), outcome.trace)

    def _report(self, stage: Stage, course: _Course, scale: int, scales: int, iteration: int, best: Best) -> None:
        objective = stage.objective
        # What has stopped is still moved, but no longer counts: its loss is that of its best.
        of_each = tuple(map(float, course.losses(objective, best)))
        losses = [loss for at, loss in enumerate(of_each) if at not in self._failed]
        loss = float(np.mean(losses)) if losses else float("nan")
        seconds = time.perf_counter() - self._started
        progress = Progress(
            scale, scales, iteration, stage.iterations, seconds, loss, objective.terms(), stage.pixel_range,
            stage.margin,
            lambda: objective.picture.copy(),
            lambda: self._made(stage, self._outcome(best, scale)),
            of_each,
        )  # fmt: skip
        if np.isfinite(loss):
            self._trace.append(progress.row())
        if self._callback is not None:
            self._callback(progress)


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
