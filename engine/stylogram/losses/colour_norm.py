"""α-norm around a colour: L = s · Σ_c Σ |x_c − m_c|^α; dL/dx_c = s α |x_c − m_c|^(α−1) sign(x_c − m_c).

The α-norm of a picture minus its mean colour m: R_α of Mahendran and Vedaldi 2015, "Understanding deep image
representations by inverting them", section 3.1, who subtract the mean of their pictures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..objective import Values
from ..session import Array

KIND = "picture"
NAME = "alpha-norm-colour"


def reference(
    picture: NDArray[np.float64], alpha: float, scale: float, colour: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient in float64, for a picture (N,C,H,W) and a colour (C)."""
    moved = picture - np.reshape(colour, (-1, 1, 1))
    value = scale * (np.abs(moved) ** alpha).sum(axis=(1, 2, 3))
    return value, scale * alpha * np.sign(moved) * np.abs(moved) ** (alpha - 1)


class Term:
    """Σ |x − colour|^alpha, times `scale`."""

    name = "alpha-norm"

    def __init__(self, scale: float, alpha: float, colour: Sequence[float]) -> None:
        """`colour` (C): in the units of the picture."""
        self._scale, self._alpha, self._colour = scale, alpha, [float(value) for value in colour]

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        flat, slope = (array.reshape(*array.shape[:2], 1, -1) for array in (picture, gradient))
        for n in range(len(flat)):  # a channel of one picture is in one piece
            for c, shift in enumerate(self._colour):
                _core.alpha_norm(flat[n, c], self._alpha, self._scale, shift, slope[n, c], value[n : n + 1])
