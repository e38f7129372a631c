"""Content: L = s · Σ w (F − P)²; dL/dF = 2 s w (F − P).

F are the features of the picture and P those of the content at one layer, w a mask on the positions, ones without one.
Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural networks", equations 1 and 2 (s = 1/2).
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import one_of
from ..objective import Values
from ..session import Array

KIND = "content"
NAME = "features"

#: The scale s from the number of features and the target's ‖P‖².
NORMALIZATIONS: dict[str, Callable[[int, float], float]] = {
    "relative": lambda count, square: 1 / square if square else 1.0,  # noqa: ARG005
    "mean-square": lambda count, square: 1 / count,  # noqa: ARG005
    "sum": lambda count, square: 1.0,  # noqa: ARG005
    "quarter": lambda count, square: 1 / (4 * count),  # noqa: ARG005
}


def reference(
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    scale: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient (N,M) in float64, for features and target (N,M), scale (N), weight (P), P | M."""
    difference = features - target
    repeated = 1.0 if weight is None else np.tile(weight, features.shape[1] // weight.size)
    return scale * (repeated * difference**2).sum(axis=1), 2 * scale[:, None] * repeated * difference


class Term:
    """The loss of one layer. `targets`: the features (C,h,w) or (1,C,h,w) of each picture's content."""

    def __init__(
        self,
        layer: str,
        tap: str,
        targets: Sequence[Array],
        weight: float,
        normalization: str,
        mask: Array | None = None,
    ) -> None:
        if normalization not in NORMALIZATIONS:
            raise one_of("content normalization", normalization, NORMALIZATIONS)
        self.name, self.tap = f"content {layer}", tap
        self._target = np.stack([np.ascontiguousarray(target, np.float32).reshape(-1) for target in targets])
        norm = NORMALIZATIONS[normalization]
        squares = [float(np.square(row, dtype=np.float64).sum()) for row in self._target]
        self._scale = np.array([weight * norm(self._target.shape[1], square) for square in squares])
        self._mask = mask

    @classmethod
    def joined(cls, terms: Sequence["Term"]) -> "Term | None":
        """One term for the pictures of several, of one layer: a launch on a GPU in place of many; masks are not."""
        if any(term._mask is not None for term in terms):
            return None
        made = copy.copy(terms[0])
        made._target, made._scale = (
            np.concatenate([getattr(t, name) for t in terms]) for name in ("_target", "_scale")
        )
        return made

    def to(self, queue: Any) -> None:
        """Move what add() reads to the GPU of `queue`, where its arguments are then."""
        self._target, self._scale = queue.upload(self._target), queue.upload(self._scale)
        self._mask = None if self._mask is None else queue.upload(np.ravel(self._mask))

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        shape = self._target.shape
        _core.feature_loss(
            features.reshape(shape), self._target, self._scale, gradient.reshape(shape), value, accumulate, self._mask
        )
