"""α-norm: L = s · Σ |x − x₀|^α; dL/dx = s α |x − x₀|^(α−1) sign(x − x₀).

Keeps pixels in their range. Mahendran and Vedaldi 2015, "Understanding deep image representations by inverting them",
section 3.1, with α = 6.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..objective import Values
from ..session import Array

KIND = "picture"
NAME = "alpha-norm"


def reference(
    picture: NDArray[np.float64], alpha: float, scale: float, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient (N,D) in float64, for a picture (N,D)."""
    moved = picture - shift
    value = scale * (np.abs(moved) ** alpha).sum(axis=1)
    return value, scale * alpha * np.sign(moved) * np.abs(moved) ** (alpha - 1)


class Term:
    """Σ |x − shift|^alpha, times `weight`."""

    name = "alpha-norm"

    def __init__(self, weight: float, alpha: float = 6.0, shift: float = 0.5) -> None:
        self._weight, self._alpha, self._shift = weight, alpha, shift

    def to(self, queue: Any) -> None:
        """On a GPU as it is: it has no arrays."""

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        flat = (picture.shape[0], -1)
        _core.alpha_norm(picture.reshape(flat), self._alpha, self._weight, self._shift, gradient.reshape(flat), value)
