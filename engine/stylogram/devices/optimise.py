"""The optimisers on a GPU: optimise.py's, with all their state there, so that a step can be captured."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from .. import _core
from ..errors import Error
from ..optimise import Settings
from ..session import Shape
from .arrays import DeviceArray

#: Pixels: the side below which no reduction of the preconditioner goes, as in preconditioned.py.
COARSEST = 4


class DeviceOptimiser(Protocol):
    """optimise.Optimiser on GPU arrays."""

    recovers: bool  #: whether a non-finite loss is taken back by the next step
    captured: bool  #: whether a step is the same launches each time

    def step(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:
        """picture, gradient (N,...), value (N): as Optimiser's."""


class Lbfgs:
    """Limited-memory BFGS (Nocedal 1980), vector-free; five launches a step."""

    captured = True

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        if settings.scratch is not None:
            raise Error(f"scratch: on a GPU the history is in its memory, got {settings.scratch}; accepted: none")
        rate = 1.0 if settings.learning_rate is None else settings.learning_rate
        self.recovers = settings.backtrack
        self._flat = (n, d)
        self._state = _core.CudaLbfgs(
            n, d, settings.history, learning_rate=rate, backtrack=settings.backtrack,
            precision=settings.history_precision,
        )  # fmt: skip

    def step(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:
        self._state.step(picture.reshape(self._flat), gradient.reshape(self._flat), value)


class Adam:
    """Kingma and Ba 2015, algorithm 1; the steps are counted on the GPU, and the rate decays there."""

    recovers = False
    captured = True

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        self._flat = (n, d)
        rate = 0.02 if settings.learning_rate is None else settings.learning_rate
        given = {"beta1": settings.beta1, "beta2": settings.beta2, "epsilon": settings.epsilon}
        self._state = _core.CudaAdam(
            n, d, learning_rate=rate, decay=settings.decay, decay_every=settings.decay_every, **given
        )

    def step(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:  # noqa: ARG002
        self._state.step(picture.reshape(self._flat), gradient.reshape(self._flat))


class GradientDescent:
    """x ← x − lr · g; the rate of each step comes from the host, so that steps are launched one by one."""

    recovers = False
    captured = False

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        self._flat = (n, d)
        self._first = 1000.0 if settings.learning_rate is None else settings.learning_rate
        self._settings, self._steps = settings, 0

    def step(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:  # noqa: ARG002
        rate = self._first * self._settings.decay ** (self._steps / self._settings.decay_every)
        self._steps += 1
        _core.gradient_descent(picture.reshape(self._flat), gradient.reshape(self._flat), rate)


class Preconditioned:
    """x = x₀ + S z, and `inner` moves z: see preconditioned.py."""

    def __init__(self, inner: DeviceOptimiser, shape: Shape, growth: float) -> None:
        self._inner = inner
        self.recovers, self.captured = inner.recovers, inner.captured
        count, channels, height, width = shape
        levels = int(np.log2(max(min(height, width) // COARSEST, 1)))
        self._planes = (count * channels, height, width)
        self._pyramid = _core.CudaPyramid(*self._planes, levels, growth)
        self._start: DeviceArray | None = None

    def begin(self, picture: DeviceArray) -> None:
        """Take `picture` as x₀."""
        self._start = picture.queue.empty(picture.shape)
        self._start.copy_from(picture)
        self._z, self._gradient = picture.queue.zeros(picture.shape), picture.queue.empty(picture.shape)

    def step(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:
        assert self._start is not None, "begin() comes first"
        flat = self._planes
        self._pyramid.apply(gradient.reshape(flat), None, self._gradient.reshape(flat))
        self._inner.step(self._z, self._gradient, value)
        self._pyramid.apply(self._z.reshape(flat), self._start.reshape(flat), picture.reshape(flat))


OPTIMISERS: dict[str, Callable[[int, int, Settings], DeviceOptimiser]] = {
    "lbfgs": Lbfgs,
    "adam": Adam,
    "sgd": GradientDescent,
}


def optimiser_of(settings: Settings, shape: Shape) -> DeviceOptimiser:
    """The optimiser of N pictures (N,3,H,W), preconditioned where the settings say so."""
    if settings.name not in OPTIMISERS:
        raise Error(f"optimizer {settings.name}: on a GPU {', '.join(OPTIMISERS)} are accepted")
    inner = OPTIMISERS[settings.name](shape[0], int(np.prod(shape[1:])), settings)
    return Preconditioned(inner, shape, settings.precondition) if settings.precondition > 1 else inner
