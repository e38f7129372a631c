"""Bounds on the pixels: after every step of an optimiser the picture is clipped to them."""

import numpy as np

from .objective import Values
from .optimise import Optimiser
from .session import Array


class Clipped:
    """x ← clip(step(x), low, high).

    Gatys et al. (2015) give the bounds to L-BFGS-B, which plans its steps within them; here a step is planned without
    and then cut.
    """

    def __init__(self, optimiser: Optimiser, low: Array, high: Array) -> None:
        """`low` and `high` broadcast against the pictures (N,3,H,W)."""
        self.recovers = optimiser.recovers
        self._optimiser, self._low, self._high = optimiser, low, high

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        self._optimiser.step(picture, gradient, value)
        np.clip(picture, self._low, self._high, out=picture)
