"""A stage on a GPU: iterations run there some at a time, and the host reads afterwards what they were.

The driver turns the same crank as on the CPU. But an iteration is only put into the queue, and every `AHEAD` of them
the host looks: the losses of each have been recorded on the GPU, and so has each picture's best. Before the driver is
told of them the next ones are put in, so that the GPU has work while Python has its. Our kernels are
captured in three graphs: the losses on features, those on the picture with the record, and the step. With the two
sessions, each a graph too, an iteration is five calls.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..driver import Stage
from ..objective import Descending, Failed, Objective, Total, Values
from ..optimise import Optimiser
from ..recipes import Recipe
from ..session import Array
from .arrays import Graph
from .library import failing
from .optimise import DeviceOptimiser, optimiser_of
from .sessions import DevicePass
from .terms import DevicePictureTerm, DeviceTerm, moved

AHEAD = 10  # iterations between two looks; a callback that asks for the picture gets that of the last one put in
#: How Gram products are multiplied; float16 would overflow where TF32, with as many bits, does not.
MATH = {"fp32": "fp32", "tf32": "tf32", "bf16": "bf16", "fp16": "tf32"}
KEEP_EVERY = 1.0  # seconds between copies of the best picture on the host, for a GPU that is lost


class DeviceObjective(Objective):
    """objective.Objective for a DevicePass, and the optimiser with it.

    `picture` and `gradient` are copies on the host of the present ones, which may be up to 2 AHEAD iterations further
    than the last evaluate() told of. `clamp` (low, high): where the picture is put after every step.
    """

    def __init__(
        self,
        network: DevicePass,
        features: Sequence[Any],
        pictures: Sequence[Any],
        optimiser: DeviceOptimiser,
        iterations: int,
        clamp: tuple[float, float] | None = None,
        ahead: int = AHEAD,
    ) -> None:
        super().__init__(cast(Descending, network), features, pictures)  # of it, the shape alone is looked at
        queue = network.place.queue
        self._pass, self._queue, self._optimiser, self._clamp = network, queue, optimiser, clamp
        self._on_features: list[DeviceTerm] = [moved(term, queue, network.taps_on_gpu) for term in features]
        self._on_pictures: list[DevicePictureTerm] = [moved(term, queue) for term in pictures]
        self._left, self._ahead = iterations, ahead
        self._evaluated = self._waiting = 0  # iterations, and those of which the host has not read
        self._broken: Exception | None = None
        self._rows: list[NDArray[np.float64]] = []
        self._graphs: dict[str, Graph] = {}
        self._done: set[str] = set()
        self._flags = np.ones(network.shape[0])
        network.upload()
        if hasattr(optimiser, "begin"):
            optimiser.begin(network.on_gpu)
        self._make_record()

    def _make_record(self) -> None:
        queue, network, (n, *rest) = self._queue, self._pass, self._pass.shape
        terms = len(self.names)
        self._values, self._total = queue.zeros((max(terms, 1), n), np.float64), queue.zeros((n,), np.float64)
        self._best = queue.empty(network.shape)
        self._best.copy_from(network.on_gpu)
        self._least = queue.upload(np.full(n, np.inf))
        self._going = queue.upload(np.ones(n, np.int32))
        self._record = queue.zeros((self._ahead, terms + 2, n), np.float64)
        self._evaluations = queue.zeros((1,), np.int64)
        self._better = queue.zeros((n,), np.int32)
        self._sizes = (n, int(np.prod(rest)), terms, self._ahead)
        named = {
            "picture": network.on_gpu, "gradient": network.gradient_on_gpu, "values": self._values,
            "total": self._total, "best": self._best, "least": self._least, "going": self._going,
            "record": self._record, "evaluations": self._evaluations, "better": self._better,
        }  # fmt: skip
        self._addresses = {name: array.address for name, array in named.items()}

    @property
    def picture(self) -> Array:
        return self._pass.on_gpu.download()

    @property
    def gradient(self) -> Array:
        return self._pass.gradient_on_gpu.download()

    def finite(self) -> bool:
        return bool(self._flags.all())

    def finite_each(self) -> NDArray[np.bool_]:
        # Of the iteration that is told of; the gradient is further by now.
        return self._flags > 0

    def move(self, optimiser: Optimiser) -> None:
        """Nothing: the step was taken on the GPU, and the picture does not come down for it."""

    def evaluate(self) -> None:
        """Take the next iteration's losses, waiting for some more where there are none."""
        if not self._rows:
            started = time.perf_counter()
            with failing("an iteration"):
                self._look()
            self.seconds["forward"] += time.perf_counter() - started  # the parts are not told apart here
        row = self._rows.pop(0)
        self.values[:], self.total[:], self._flags[:] = row[:-2], row[-2], row[-1]

    def _look(self) -> None:
        """Wait for the iterations that are in the queue, and put in the next ones before anybody is told of these."""
        if self._broken is not None:
            raise self._broken
        if not self._waiting:
            self._put(1)
        record = self._record.download()
        last = self._evaluated
        self._rows = [record[at % self._ahead] for at in range(last - self._waiting, last)]
        self._waiting = 0
        try:
            self._put(min(self._ahead, self._left))
        except (RuntimeError, Failed) as problem:  # for the next look: these are told of first
            self._broken = problem

    def _put(self, count: int) -> None:
        _core.cuda_use(self._queue.index)
        _core.cuda_set_math(MATH[self._pass.place.precision])
        for _ in range(count):
            self._left -= 1 if self._evaluated else 0
            self._iterate()
        self._waiting += count

    def _iterate(self) -> None:
        """A step from the last gradient, unless there is none yet, and an evaluation."""
        if self._evaluated and self._optimiser.captured:
            self._do("step", self._step)
        elif self._evaluated:
            self._step()
        self._pass.forward_only()
        self._do("features", self._feature_losses)
        self._pass.backward()
        self._do("picture", self._picture_losses)
        self._evaluated += 1

    def _do(self, name: str, work: Callable[[], None]) -> None:
        """The first time as it is, so that its memory is there; the second time captured, and then run as a graph."""
        if name not in self._done:
            self._done.add(name)
            work()
            return
        if name not in self._graphs:
            made: list[Graph] = []
            with self._queue.capture(made):
                work()
            self._graphs[name] = made[0]
        self._graphs[name].run()

    def _step(self) -> None:
        network = self._pass
        self._optimiser.step(network.on_gpu, network.gradient_on_gpu, self._total)
        if self._clamp is not None:
            _core.cuda_clip(network.on_gpu.reshape(network.shape[0], -1), *self._clamp)

    def _feature_losses(self) -> None:
        self._values.clear()
        written: set[str] = set()
        for row, term in enumerate(self._on_features):
            features, gradient = self._pass.taps_on_gpu[term.tap], self._pass.gradients_on_gpu[term.tap]
            term.add(features, gradient, term.tap in written, self._values[row])
            written.add(term.tap)

    def _picture_losses(self) -> None:
        for row, term in enumerate(self._on_pictures, len(self._on_features)):
            term.add(self._pass.on_gpu, self._pass.gradient_on_gpu, self._values[row])
        _core.cuda_follow(*self._sizes, self._addresses, self._queue.handle)

    def best(self) -> Array:
        """The best of each picture so far (N,3,H,W)."""
        return self._best.download()

    def set_going(self, going: NDArray[np.bool_]) -> None:
        """Which pictures' best may still change."""
        self._going.upload(going.astype(np.int32))


class DeviceBest:
    """driver._Best for a DeviceObjective: the pictures stay on the GPU until they are asked for."""

    def __init__(self, objective: DeviceObjective) -> None:
        self._objective = objective
        self.iteration = 0
        self.loss: Values = np.full(len(objective.total), np.inf)
        self._going = np.ones(len(objective.total), bool)
        self._kept, self._kept_at = objective.best(), time.perf_counter()

    def look(self, objective: Total, iteration: int, going: NDArray[np.bool_]) -> None:
        """As driver._Best's: which pictures are better is found here as on the GPU."""
        better = (objective.total < self.loss) & going
        self.iteration = iteration if better.any() else self.iteration
        self.loss[better] = objective.total[better]
        if (going != self._going).any():
            self._going = going.copy()
            self._objective.set_going(going)
        if time.perf_counter() - self._kept_at > KEEP_EVERY:
            self._kept, self._kept_at = self._objective.best(), time.perf_counter()

    @property
    def picture(self) -> Array:
        """The best pictures; those of the last second's look where the GPU does not answer any more."""
        with suppress(Failed):
            self._kept = self._objective.best()
        return self._kept


def stage_of(
    network: DevicePass, features: Sequence[Any], pictures: Sequence[Any], recipe: Recipe, iterations: int
) -> Stage:
    """A stage of the driver on the GPU of `network`, from the picture that is in it."""
    with failing("the optimiser's memory"):
        optimiser = optimiser_of(recipe.optimiser, network.shape)
    clamp = (0.0, recipe.pixel_range) if recipe.clamp else None
    objective = DeviceObjective(network, features, pictures, optimiser, iterations, clamp)
    # What clips is the objective, what moves the picture too: the driver only counts.
    still = _Still(optimiser.recovers)
    best = DeviceBest(objective)
    return Stage(objective, still, iterations, recipe.pixel_range, margin=recipe.margin, best=best)


class _Still:
    """An optimiser for the driver that moves nothing: DeviceObjective does."""

    def __init__(self, recovers: bool) -> None:
        self.recovers = recovers

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        """Nothing."""
