"""Style: L = s · ‖G − A‖²_F, with G = F diag(w) Fᵀ / Σw; dL/dF = 4 s / Σw · (G − A) F diag(w).

F (C,P) are the features of a layer, A the same Gram matrix of the style, w a mask on the P positions, all ones without
one. Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural networks", equations 3-6; the masks
are those of Gatys et al. 2017, "Controlling perceptual factors", section 3. Several styles are one target: for weights
c_i, Σ c_i ‖G − A_i‖² = c ‖G − Ā‖² + Σ c_i ‖A_i‖² − c ‖Ā‖², with c = Σ c_i and Ā = Σ c_i A_i / c.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import Error, one_of
from ..objective import Values
from ..session import Array

KIND = "style"
NAME = "gram"

#: The scale s of one layer, from its channels C, positions P, the target's ‖A‖² and the picture's pixels.
#: With D = ‖G − A‖², G per position: what each program minimises, in its own normalisation.
NORMALIZATIONS: dict[str, Callable[[int, int, float, int], float]] = {
    "relative": lambda c, p, square, pixels: 1 / square if square else 1.0,  # noqa: ARG005
    "mean-square-chw": lambda c, p, square, pixels: 1 / c**4,  # noqa: ARG005 -- Gram/(C H W), mean over C²
    "quarter": lambda c, p, square, pixels: 1 / (4 * c**2),  # noqa: ARG005 -- raw Gram, over 4 C² (H W)²
    "keras": lambda c, p, square, pixels: p**2 / (4 * 9 * pixels**2),  # noqa: ARG005 -- raw Gram, the image's size
}


def target(features: Any, mask: Array | None = None) -> Array:
    """The Gram matrices (N,C,C) of features (N,C,h,w), per position; mask (h·w) or None.

    The features may be a GPU's (devices.features.DeviceFeatures): then they are multiplied there.
    """
    n, channels = features.shape[:2]
    if hasattr(features, "queue"):
        queue = features.queue
        there = queue.empty((n, channels, channels))
        weights = None if mask is None else queue.upload(np.ascontiguousarray(mask, np.float32))
        _core.gram(features.matrices, there, weights, **features.way)
        downloaded: Array = there.download()
        return downloaded
    out = np.empty((n, channels, channels), np.float32)
    _core.gram(_flat(features), out, mask)
    return out


class Sum:
    """Σ F diag(w) Fᵀ and Σ w over parts of the positions, in float64: the target of a style that is seen in parts."""

    def __init__(self, channels: int) -> None:
        self._part = np.empty((1, channels, channels), np.float32)
        self._whole = np.zeros((channels, channels))
        self.weight = 0.0

    def add(self, features: Array, mask: Array | None = None) -> None:
        """A part: features (1,C,P), mask (P) or None."""
        weight = features.shape[2] if mask is None else float(mask.sum(dtype=np.float64))
        if weight:
            _core.gram(features, self._part, mask)  # of the part, over its own weight
            self._whole += weight * self._part[0].astype(np.float64)
            self.weight += weight

    def target(self) -> Array:
        """target() of all parts, (1,C,C); what is masked everywhere is an Error, as it is of a whole."""
        if not self.weight:
            raise Error("gram: the mask is 0 everywhere; accepted: one that selects something")
        return (self._whole / self.weight)[None].astype(np.float32)


def reference(
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    scale: NDArray[np.float64],
    mask: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss (N) and its gradient (N,C,P) in float64; features (N,C,P), target (N,C,C), scale (N), mask (P)."""
    n, _, p = features.shape
    weight = np.ones((n, 1, p)) if mask is None else np.broadcast_to(np.atleast_2d(mask), (n, p))[:, None]
    total = weight.sum(axis=2, keepdims=True)
    masked = features * weight
    difference = masked @ features.transpose(0, 2, 1) / total - target
    value = scale * (difference**2).sum(axis=(1, 2))
    return value, 4 * scale[:, None, None] / total * (difference @ masked)


class Term:
    """The loss of one layer for N pictures of one shape, all with the same targets.

    `targets`: the target() (1,C,C) of every style, and its share; `weight` the layer's weight; `shape` (N,C,h,w) that
    of the picture's features; `pixels` the picture's H·W; `mask` (h·w) the picture's.
    """

    def __init__(
        self,
        layer: str,
        tap: str,
        shape: tuple[int, ...],
        targets: Sequence[tuple[Array, float]],
        weight: float,
        normalization: str,
        pixels: int,
        mask: Array | None = None,
    ) -> None:
        if normalization not in NORMALIZATIONS:
            raise one_of("style normalization", normalization, NORMALIZATIONS)
        if len(shape) != 4:
            raise Error(f"style layer {layer} has shape {shape}; a layer (N,C,h,w), with rows and columns, is accepted")
        self.name, self.tap = f"style {layer}", tap
        n, channels, positions = shape[0], shape[1], shape[2] * shape[3]
        grams = [matrix[0].astype(np.float64) for matrix, _ in targets]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = [float((matrix**2).sum()) for matrix in grams]
        if not np.isfinite(squares).all():
            why = "the network's weights are NaN, or too large"
            raise Error(f"style layer {layer}: the style's features are no finite numbers; {why}")
        norm = NORMALIZATIONS[normalization]
        scales = [
            weight * share * norm(channels, positions, square, pixels)
            for (_, share), square in zip(targets, squares, strict=True)
        ]
        scale = sum(scales)
        mean = sum(c * matrix for c, matrix in zip(scales, grams, strict=True)) / scale
        offset = sum(c * square for c, square in zip(scales, squares, strict=True)) - scale * (mean**2).sum()
        self._target = np.ascontiguousarray(np.broadcast_to(mean, (n, channels, channels)), np.float32)
        self._scale = np.full(n, scale)
        self._offset = np.full(n, max(offset, 0.0))
        self._gram = np.empty_like(self._target)
        self._shape, self._mask = shape, mask

    @classmethod
    def joined(cls, terms: Sequence["Term"]) -> "Term | None":
        """One term for the pictures of several, of one layer: a launch on a GPU in place of many. None where some have
        masks and some have not."""
        if len({term._mask is None for term in terms}) > 1:
            return None
        made = copy.copy(terms[0])
        for name in ("_target", "_scale", "_offset", "_gram"):
            setattr(made, name, np.concatenate([getattr(term, name) for term in terms]))
        masks = [term._mask.ravel() for term in terms if term._mask is not None]
        made._mask = np.stack(masks) if masks else None
        return made

    def to(self, queue: Any, features: Any) -> None:  # noqa: ARG002
        """Move what add() reads to the GPU of `queue`, where its arguments are then: the like of `features`."""
        self._target, self._scale, self._offset = map(queue.upload, (self._target, self._scale, self._offset))
        self._gram = queue.empty(self._gram.shape)
        self._mask = None if self._mask is None else queue.upload(np.ascontiguousarray(self._mask, np.float32))

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        _core.gram_loss(
            _flat(features), self._target, self._scale, self._offset, self._gram, _flat(gradient), value,
            accumulate, self._mask, **getattr(features, "way", {}),
        )  # fmt: skip


class PartTerm(Term):
    """The same of one picture whose features are seen in parts, each the positions in a window of the layer."""

    def begin(self) -> None:
        self._sum = Sum(self._shape[1])

    def gather(self, features: Array, window: tuple[slice, slice]) -> None:
        self._sum.add(features, self._seen(window))

    def between(self) -> float:
        difference = self._sum.target()[0].astype(np.float64) - self._target[0]
        self._slope = (4 * self._scale[0] / self._sum.weight * difference).astype(np.float32)
        return float(self._scale[0] * (difference**2).sum() + self._offset[0])

    def spread(self, features: Array, window: tuple[slice, slice], gradient: Array, accumulate: bool) -> float:
        into = np.empty_like(gradient[0]) if accumulate else gradient[0]
        _core.matmul(self._slope, features[0], into)
        mask = self._seen(window)
        if mask is not None:
            into *= mask
        if accumulate:
            gradient[0] += into
        return 0.0

    def _seen(self, window: tuple[slice, slice]) -> Array | None:
        """The mask there, (P)."""
        if self._mask is None:
            return None
        return np.ascontiguousarray(self._mask.reshape(self._shape[2:])[window]).reshape(-1)


def _flat(features: Any) -> Any:
    """(N,C,P); of a GPU's features as they lie (devices.features.DeviceFeatures)."""
    return features.matrices if hasattr(features, "matrices") else features.reshape(*features.shape[:2], -1)
