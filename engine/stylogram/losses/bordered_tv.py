"""Total variation with a border: L = s · Σ over all H×W pixels of (dx² + dy²)^(p/2), dx and dy forward differences.

`wrap`: beyond the last row and column the first ones follow, as on a torus: TV of a picture that tiles. `edge`: they
are repeated, so that dx or dy is 0 there: V^β of Mahendran and Vedaldi (2015), "Understanding deep image
representations by inverting them", section 3.2, with p = β, as their program invert_nn.m has it.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import one_of
from ..objective import Values
from ..session import Array, aligned

KIND = "picture"
NAME = "tv-bordered"

Border = Literal["wrap", "edge"]
#: Which row or column is seen beyond the last one.
BORDERS: Mapping[str, int] = {"wrap": 0, "edge": -1}


def reference(
    picture: NDArray[np.float64], power: float, scale: float, border: Border
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient in float64, for a picture (N,C,H,W)."""
    seen = BORDERS[border]
    dx = np.concatenate([picture[..., 1:], picture[..., [seen]]], axis=3) - picture
    dy = np.concatenate([picture[..., 1:, :], picture[..., [seen], :]], axis=2) - picture
    square = dx**2 + dy**2
    factor = scale * power * np.where(square > 0, square, 1) ** (power / 2 - 1) * (square > 0)
    along_x, along_y = factor * dx, factor * dy
    gradient = -along_x - along_y
    gradient[..., 1:] += along_x[..., :-1]
    gradient[..., seen] += along_x[..., -1]
    gradient[..., 1:, :] += along_y[..., :-1, :]
    gradient[..., seen, :] += along_y[..., -1, :]
    return scale * (square ** (power / 2)).sum(axis=(1, 2, 3)), gradient


class Term:
    """Σ (dx² + dy²)^(power/2) of pictures of `shape` (N,C,H,W), times `scale`."""

    name = "tv"

    def __init__(self, shape: tuple[int, ...], scale: float, power: float = 2.0, border: Border = "wrap") -> None:
        if border not in BORDERS:
            raise one_of("border of tv", border, BORDERS)
        self._scale, self._power, self._seen = scale, power, BORDERS[border]
        larger = (*shape[:2], shape[2] + 1, shape[3] + 1)
        self._picture, self._gradient = aligned(larger), aligned(larger)

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        seen, grown, slope = self._seen, self._picture, self._gradient
        grown[..., :-1, :-1] = picture
        grown[..., -1, :-1] = picture[..., seen, :]
        grown[..., -1] = grown[..., :, 0 if seen == 0 else -2]
        slope[:] = 0
        _core.tv(grown, "isotropic", self._power, self._scale, slope, value)
        gradient += slope[..., :-1, :-1]
        gradient[..., seen, :] += slope[..., -1, :-1]
        gradient[..., seen] += slope[..., :-1, -1]
