"""Preconditioning by scale: coarse structures of the picture may move further than fine ones.

The gradient of feature losses is mostly fine: L-BFGS spends its first hundred iterations on what is small and needs
some hundred more for what is large. Here x = x₀ + S z, and the optimiser moves z, whose gradient is S · dL/dx. S adds
to a picture its own reductions to a half, a quarter, ..., each weighing `growth` times the one before. Pictures of
nature have amplitudes of about 1/f (Field 1987), which is a `growth` of 2; less weighs fine structures more. The sum
over levels is that of Bramble, Pasciak and Xu, "Parallel multilevel preconditioners" (1990).
"""

import numpy as np

from . import _core
from .errors import Error
from .objective import Values
from .optimise import OPTIMISERS, Optimiser, Settings
from .session import Array, Shape, aligned

COARSEST = 4  # pixels: the side below which no reduction goes


class Preconditioned:
    """Moves N pictures (N,3,H,W) by `inner`, which sees z in their place. Nothing else may change the pictures.

    Raises Error for a `growth` that is not above 1.
    """

    def __init__(self, inner: Optimiser, shape: Shape, growth: float) -> None:
        if not growth > 1:
            raise Error(f"precondition: a number above 1 is needed, got {growth}")
        self._inner = inner
        self.recovers = inner.recovers
        count, channels, height, width = shape
        levels = int(np.log2(max(min(height, width) // COARSEST, 1)))
        self._pyramid = _core.Pyramid(count * channels, height, width, levels, growth)
        self._start: Array | None = None
        self._z, self._gradient = aligned(shape), aligned(shape)

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        """As every Optimiser's; the first picture is x₀."""
        if self._start is None:
            self._start = picture.copy()
        self._pyramid.apply(gradient, self._gradient)
        self._inner.step(self._z, self._gradient, value)
        self._pyramid.apply_add(self._z, self._start, picture)


def optimiser_of(settings: Settings, shape: Shape) -> Optimiser:
    """The optimiser of N pictures (N,3,H,W), preconditioned where the settings say so."""
    inner = OPTIMISERS[settings.name](shape[0], int(np.prod(shape[1:])), settings)
    return Preconditioned(inner, shape, settings.precondition) if settings.precondition > 1 else inner
