"""Diversity: L = s/N Σ_i ⟨Ĝ_i, S_i⟩, Ĝ = G / ‖G‖, G = F Fᵀ; dL/dF_i = 4s/(N ‖G_i‖) (S_i − ⟨Ĝ_i, S_i⟩ Ĝ_i) F_i.

F (C,P) are the features of one picture of a group of N, S_i = Σ_{j≠i} Ĝ_j: pictures of one unit are to differ in their
textures. Olah, Mordvintsev and Schubert 2017, "Feature visualization", section on diversity, as their program has it.
There s is a number, which is to be found anew for every layer; here it may go with what the pictures have reached: s =
weight · max(mean of their activations, 0), a constant where L is differentiated.
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import Error
from ..objective import Values
from ..session import Array

KIND = "unit"
NAME = "diversity"
EPSILON = 1e-12  # the least ‖G‖ that is divided by: a picture without activations has no texture
Doubles = NDArray[np.float64]


def reference(features: Doubles, group: int, scale: float) -> tuple[Doubles, Doubles]:
    """The loss (N), each picture's share of it, and its gradient (N,C,P) in float64, for features (N,C,P)."""
    grams = np.einsum("ncp,ndp->ncd", features, features)
    norms = np.maximum(np.sqrt((grams**2).sum(axis=(1, 2))), EPSILON)
    unit = grams / norms[:, None, None]
    first = np.arange(len(features)) // group
    same = (first[:, None] == first) & ~np.eye(len(features), dtype=bool)
    others = np.einsum("ij,jcd->icd", same.astype(float), unit)
    along = np.einsum("ncd,ncd->n", unit, others)
    pull = (others - along[:, None, None] * unit) / norms[:, None, None]
    return scale / group * along, 4 * scale / group * np.einsum("ncd,ndp->ncp", pull, features)


class Term:
    """The loss of one layer for pictures in groups of `group` that follow one another.

    `reached` (N): their activations, which another term writes before; without it s is the weight.
    """

    def __init__(
        self, layer: str, tap: str, group: int, weight: float = 1.0, reached: NDArray[np.float64] | None = None
    ) -> None:
        if group < 2:
            raise Error(f"diversity: groups of at least 2 pictures are accepted, got {group}")
        self.name, self.tap = f"diversity {layer}", tap
        self._group, self._weight, self._reached = group, weight, reached

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        n, c = features.shape[:2]
        flat, into = features.reshape(n, c, -1), gradient.reshape(n, c, -1)
        for start in range(0, n, self._group):
            part = slice(start, start + self._group)
            size = 1.0 if self._reached is None else max(float(self._reached[part].mean()), 0.0)
            along, pulled = self._of(flat[part], self._weight * size / self._group)
            value[part] += along
            if accumulate:
                into[part] += pulled
            else:
                into[part] = pulled

    def _of(self, flat: Array, scale: float) -> tuple[NDArray[np.float64], Array]:
        """One group's shares of the loss, and its gradient."""
        grams = flat @ flat.transpose(0, 2, 1)
        squares = np.square(grams, dtype=np.float64).sum(axis=(1, 2))
        norms = np.maximum(np.sqrt(squares), EPSILON).astype(np.float32)[:, None, None]
        unit = grams / norms
        others = unit.sum(axis=0) - unit
        along = np.einsum("ncd,ncd->n", unit, others, dtype=np.float64)
        pull = (others - along.astype(np.float32)[:, None, None] * unit) * (np.float32(4 * scale) / norms)
        return scale * along, pull @ flat
