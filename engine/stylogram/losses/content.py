"""Content: L = s · Σ w (F − P)²; dL/dF = 2 s w (F − P).

F are the features of the picture and P those of the content at one layer, w a mask on the positions, ones without one.
Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural networks", equations 1 and 2 (s = 1/2).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import one_of
from ..objective import Values
from ..session import Array

KIND = "content"
NAME = "features"
Place = tuple[int, int]

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


def _scale(normalization: str, target: Sequence[Array]) -> float:
    """s, from the parts of a target."""
    if normalization not in NORMALIZATIONS:
        raise one_of("content normalization", normalization, NORMALIZATIONS)
    square = sum(float(np.square(part, dtype=np.float64).sum()) for part in target)
    return NORMALIZATIONS[normalization](sum(part.size for part in target), square)


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
        self.name, self.tap = f"content {layer}", tap
        self._target = np.stack([np.ascontiguousarray(target, np.float32).reshape(-1) for target in targets])
        self._scale = np.array([weight * _scale(normalization, [row]) for row in self._target])
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

    def to(self, queue: Any, features: Any) -> None:
        """Move what add() reads to the GPU of `queue`, where its arguments are then: the like of `features`."""
        self._target, self._scale = queue.upload(features.arranged(self._target)), queue.upload(self._scale)
        self._mask = None if self._mask is None else queue.upload(np.ravel(self._mask))

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        _core.feature_loss(
            _row(features), self._target, self._scale, _row(gradient), value, accumulate, self._mask,
            **getattr(features, "way", {}),
        )  # fmt: skip


def _row(features: Any) -> Any:
    """(N,M); of a GPU's features in the order in which they lie (devices.features.DeviceFeatures)."""
    return features.rows if hasattr(features, "rows") else features.reshape(len(features), -1)


class PartTerm:
    """The same of one picture whose features are seen in parts. `targets`: of each part (1,C,P), by its place."""

    def __init__(self, layer: str, tap: str, targets: Mapping[Place, Array], weight: float, normalization: str) -> None:
        self.name, self.tap = f"content {layer}", tap
        self._targets = targets
        self._scale = np.array([weight * _scale(normalization, list(targets.values()))])
        self._value = np.zeros(1)

    def begin(self) -> None:
        pass

    def gather(self, features: Array, window: tuple[slice, slice]) -> None:
        pass

    def between(self) -> float:
        return 0.0

    def spread(self, features: Array, window: tuple[slice, slice], gradient: Array, accumulate: bool) -> float:
        self._value[:] = 0
        flat, target = (array.reshape(1, -1) for array in (features, self._targets[place(window)]))
        _core.feature_loss(flat, target, self._scale, gradient.reshape(1, -1), self._value, accumulate)
        return float(self._value[0])


def place(window: tuple[slice, slice]) -> Place:
    """The name of a part: its first position."""
    return window[0].start, window[1].start
