"""The optimisers: L-BFGS, Adam and plain gradient descent, one state per picture, on our kernels.

Conventions of the field: L-BFGS takes no line search; its first step is min(1, 1/‖g‖₁) times the learning rate.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import _core
from .errors import Error
from .objective import Values
from .session import Array


class Optimiser(Protocol):
    """Moves N pictures against their gradients, in place."""

    recovers: bool  #: whether a non-finite loss is taken back by the next step

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        """picture, gradient (N,...): the point and its gradient; value (N) the losses there. Writes the next point."""


@dataclass(frozen=True)
class Settings:
    """What an optimiser is made with. `learning_rate` None takes the optimiser's own default.

    `decay` multiplies the learning rate over `decay_every` iterations, smoothly: lr · decay^(iteration / decay_every).
    `precondition`: how much further coarse structures may move than those of half the size (preconditioned.py); 1: not.
    `history_precision`: float32 or float16, of L-BFGS's pairs; `scratch`: the directory in which it keeps all its
    vectors in a file, None: in memory.
    """

    name: str = "lbfgs"
    learning_rate: float | None = None
    history: int = 100
    backtrack: bool = True
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 1.0
    decay_every: int = 100
    precondition: float = 1.0
    history_precision: str = "float32"
    scratch: Path | None = None


class Lbfgs:
    """Limited-memory BFGS (Nocedal 1980), vector-free; with `backtrack` a step that fails is halved, not kept."""

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        rate = 1.0 if settings.learning_rate is None else settings.learning_rate
        self.recovers = settings.backtrack
        self._n, self._d = n, d
        where = b"" if settings.scratch is None else os.fsencode(settings.scratch)
        try:
            self._state = _core.Lbfgs(
                n,
                d,
                settings.history,
                learning_rate=rate,
                backtrack=settings.backtrack,
                precision=settings.history_precision,
                directory=where,
            )
        except ValueError as error:
            if settings.scratch is None:
                raise
            why = str(error).removeprefix("[scratch] ")  # no directory, or no room in it
            raise Error(f"scratch: {settings.scratch}: {why}") from error

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        flat = (self._n, self._d)
        self._state.step(picture.reshape(flat), gradient.reshape(flat), value)


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    recovers = False

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        self._flat = (n, d)
        self._rate = _Rate(0.02 if settings.learning_rate is None else settings.learning_rate, settings)
        self._state = _core.Adam(
            n, d, learning_rate=self._rate.first, beta1=settings.beta1, beta2=settings.beta2, epsilon=settings.epsilon
        )

    def step(self, picture: Array, gradient: Array, value: Values) -> None:  # noqa: ARG002 -- the protocol's
        self._state.learning_rate = self._rate.next()
        self._state.step(picture.reshape(self._flat), gradient.reshape(self._flat))


class GradientDescent:
    """x ← x − lr · g."""

    recovers = False

    def __init__(self, n: int, d: int, settings: Settings) -> None:
        self._flat = (n, d)
        self._rate = _Rate(1000.0 if settings.learning_rate is None else settings.learning_rate, settings)

    def step(self, picture: Array, gradient: Array, value: Values) -> None:  # noqa: ARG002 -- the protocol's
        _core.gradient_descent(picture.reshape(self._flat), gradient.reshape(self._flat), self._rate.next())


class _Rate:
    """A learning rate that decays by `settings.decay` every `settings.decay_every` steps."""

    def __init__(self, first: float, settings: Settings) -> None:
        self.first = first
        self._settings = settings
        self._step = 0

    def next(self) -> float:
        rate: float = self.first * self._settings.decay ** (self._step / self._settings.decay_every)
        self._step += 1
        return rate


OPTIMISERS: dict[str, Callable[[int, int, Settings], Optimiser]] = {
    "lbfgs": Lbfgs,
    "adam": Adam,
    "sgd": GradientDescent,
}
