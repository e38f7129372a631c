"""Strength: L = −s/2 · Σ F²; dL/dF = −s F, over all the channels of a layer or over some.

Lower is stronger: whatever the layer sees in the picture is to be there more. The objective of DeepDream (Mordvintsev,
Olah and Tyka 2015, "Inceptionism"), ½‖F‖².
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..objective import Values
from ..session import Array

KIND = "unit"
NAME = "strength"
Doubles = NDArray[np.float64]


def reference(features: Doubles, channels: Sequence[int] | None, scale: float) -> tuple[Doubles, Doubles]:
    """The loss (N) and its gradient (N,C,P) in float64, for features (N,C,P)."""
    kept = np.zeros_like(features)
    chosen = slice(None) if channels is None else list(channels)
    kept[:, chosen] = features[:, chosen]
    return -scale / 2 * (kept**2).sum(axis=(1, 2)), -scale * kept


class Term:
    """The loss of one layer; `channels`: those that count, None for all."""

    def __init__(self, layer: str, tap: str, channels: Sequence[int] | None = None, weight: float = 1.0) -> None:
        self.name, self.tap = f"strength {layer}", tap
        self._channels = None if channels is None else list(channels)
        self._weight = np.float32(weight)

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        chosen = slice(None) if self._channels is None else self._channels
        strong = features[:, chosen]
        value -= 0.5 * float(self._weight) * np.square(strong, dtype=np.float64).reshape(len(strong), -1).sum(axis=1)
        if not accumulate:
            gradient[:] = 0
        gradient[:, chosen] -= self._weight * strong
