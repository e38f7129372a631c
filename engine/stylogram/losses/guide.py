"""Guide: L = −s · Σ_p ⟨F_p, Y_q(p)⟩ with q(p) = argmax_q ⟨F_p, Y_q⟩; dL/dF_p = −s Y_q(p).

F (C,P) are the features of the picture, Y (C,Q) those of a guide: every place is drawn to the guide's place that it
resembles most. DeepDream's guided objective (Mordvintsev, Olah and Tyka 2015, the notebook of "Inceptionism").
"""

import numpy as np
from numpy.typing import NDArray

from ..objective import Values
from ..session import Array

KIND = "unit"
NAME = "guide"
BLOCK = 1 << 22  # products that are looked at together
Doubles = NDArray[np.float64]


def reference(features: Doubles, guide: Doubles, scale: float) -> tuple[Doubles, Doubles]:
    """The loss (N) and its gradient (N,C,P) in float64; features (N,C,P), guide (C,Q)."""
    products = np.einsum("ncp,cq->npq", features, guide)
    best = products.argmax(axis=2)
    return -scale * products.max(axis=2).sum(axis=1), -scale * guide[:, best].transpose(1, 0, 2)


class Term:
    """The loss of one layer; `guide` (C,h,w) or (1,C,h,w): the features of the guide picture there."""

    def __init__(self, layer: str, tap: str, guide: Array, weight: float = 1.0) -> None:
        self.name, self.tap = f"guide {layer}", tap
        channels = guide.shape[-3]
        self._guide = np.ascontiguousarray(guide, np.float32).reshape(channels, -1)
        self._weight = np.float32(weight)

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        n, channels = len(features), len(self._guide)
        flat, into = features.reshape(n, channels, -1), gradient.reshape(n, channels, -1)
        rows = max(BLOCK // self._guide.shape[1], 1)
        for picture in range(n):
            for start in range(0, flat.shape[2], rows):
                part = slice(start, start + rows)
                products = flat[picture, :, part].T @ self._guide
                best = products.argmax(axis=1)
                value[picture] -= float(self._weight) * float(products.max(axis=1).sum(dtype=np.float64))
                pulled = self._weight * self._guide[:, best]
                if accumulate:
                    into[picture, :, part] -= pulled
                else:
                    into[picture, :, part] = -pulled
