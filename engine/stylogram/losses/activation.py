"""Activation: L = −s · Σ_c d_c Σ_p m_p F_cp; dL/dF_cp = −s d_c m_p.

F (C,P) are the features of a layer, d a direction among its channels, m shares of its positions. Lower is stronger: one
d_c is a channel, one m_p beside it a neuron, a layer without positions a logit. Erhan, Bengio, Courville and Vincent
2009, "Visualizing higher-layer features of a deep network"; directions and means over positions as Olah, Mordvintsev
and Schubert 2017, "Feature visualization".
"""

import numpy as np
from numpy.typing import NDArray

from ..objective import Values
from ..session import Array

KIND = "unit"
NAME = "activation"
Doubles = NDArray[np.float64]


def reference(features: Doubles, direction: Doubles, share: Doubles, scale: float) -> tuple[Doubles, Doubles]:
    """The loss (N) and its gradient (N,C,P) in float64; features (N,C,P), direction (N,C), share (P)."""
    value = -scale * np.einsum("ncp,nc,p->n", features, direction, share)
    return value, -scale * direction[:, :, None] * share


class Term:
    """The loss of one layer. `directions` (N,C), one for each picture; `shares` (h·w) of the positions, or None: all
    alike, summing to 1."""

    def __init__(
        self, layer: str, tap: str, directions: Array, shares: Array | None = None, weight: float = 1.0
    ) -> None:
        self.name, self.tap = f"activation {layer}", tap
        self._directions = np.asarray(directions, np.float32) * np.float32(weight)
        self._shares = shares
        self._slope: Array | None = None  # the gradient (N,C,P), the same at every picture: made once
        self.reached = np.zeros(len(directions))  #: −L of each picture (N) at the last add()

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        n, c = self._directions.shape
        flat, into = features.reshape(n, c, -1), gradient.reshape(n, c, -1)
        if self._shares is None:
            self._shares = np.full(flat.shape[2], 1 / flat.shape[2], np.float32)
        if self._slope is None:
            self._slope = -self._directions[:, :, None] * self._shares
        self.reached[:] = np.einsum("nc,nc->n", self._directions, flat @ self._shares, dtype=np.float64)
        value -= self.reached
        np.add(into, self._slope, out=into) if accumulate else np.copyto(into, self._slope)
