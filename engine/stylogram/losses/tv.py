"""Total variation: L = s · (Σ |dx|^p + Σ |dy|^p), or isotropic s · Σ (dx² + dy²)^(p/2) over the (H−1)×(W−1) crop.

dx and dy are forward differences. Rudin, Osher and Fatemi 1992; the isotropic form with p = β is V_β of Mahendran and
Vedaldi (2015, "Understanding deep image representations by inverting them", section 3.2). The derivative is 0 where
dx = dy = 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import one_of
from ..objective import Values
from ..session import Array

KIND = "picture"
NAME = "tv"

#: Form, exponent p, and the scale s from (C, H, W): what each program smooths with.
FORMS: dict[str, tuple[str, float, Callable[[int, int, int], float]]] = {
    "mean-squared": ("anisotropic", 2.0, lambda c, h, w: 1 / max(c * (h * (w - 1) + (h - 1) * w), 1)),
    "half-squared-crop": ("isotropic", 2.0, lambda c, h, w: 0.5),  # noqa: ARG005 -- neural-style's TVLoss
    "absolute": ("anisotropic", 1.0, lambda c, h, w: 1.0),  # noqa: ARG005 -- its PyTorch port
    "keras": ("isotropic", 2.5, lambda c, h, w: 1.0),  # noqa: ARG005
}


def reference(
    picture: NDArray[np.float64], kind: str, power: float, scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient in float64, for a picture (N,C,H,W) and kind "anisotropic" or "isotropic"."""
    dx, dy = np.diff(picture, axis=3), np.diff(picture, axis=2)
    if kind == "isotropic":
        dx, dy = dx[:, :, :-1], dy[:, :, :, :-1]
        square = dx**2 + dy**2
        value = scale * (square ** (power / 2)).sum(axis=(1, 2, 3))
        factor = scale * power * np.where(square > 0, square, 1) ** (power / 2 - 1) * (square > 0)
        along_x, along_y = factor * dx, factor * dy
    else:
        value = scale * ((np.abs(dx) ** power).sum(axis=(1, 2, 3)) + (np.abs(dy) ** power).sum(axis=(1, 2, 3)))
        along_x = scale * power * np.sign(dx) * np.abs(dx) ** (power - 1)
        along_y = scale * power * np.sign(dy) * np.abs(dy) ** (power - 1)
    gradient = np.zeros_like(picture)
    h, w = along_x.shape[2:]
    gradient[:, :, :h, 1 : w + 1] += along_x
    gradient[:, :, :h, :w] -= along_x
    h, w = along_y.shape[2:]
    gradient[:, :, 1 : h + 1, :w] += along_y
    gradient[:, :, :h, :w] -= along_y
    return value, gradient


class Term:
    """TV of pictures of `shape` (N,C,H,W) in one of FORMS."""

    name = "tv"

    def __init__(self, shape: tuple[int, ...], weight: float, form: str = "mean-squared") -> None:
        if form not in FORMS:
            raise one_of("form of tv", form, FORMS)
        self._kind, self._power, scale = FORMS[form]
        self._scale = weight * scale(*shape[1:])

    @classmethod
    def joined(cls, terms: Sequence["Term | None"]) -> "Term | None":
        """The first for all, if they are alike: a launch on a GPU in place of many."""
        first = terms[0]
        return first if first is not None and all(t is not None and vars(t) == vars(first) for t in terms) else None

    def to(self, queue: Any) -> None:
        """On a GPU as it is: it has no arrays."""

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        _core.tv(picture, self._kind, self._power, self._scale, gradient, value)
