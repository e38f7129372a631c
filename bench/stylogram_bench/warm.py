"""L-BFGS that goes on at the next scale with its pairs enlarged: a trial of convergence.py, in NumPy."""

from typing import Any

import cv2
import numpy as np
from stylogram.session import Array


class Warm:
    """The two-loop recursion (Nocedal 1980), steps of length 1, for one picture (1,3,H,W).

    at(shape) makes it ready for the next scale: s is enlarged as the picture is; y too, divided by the growth of the
    number of pixels, since a loss of means spreads its gradient over them.
    """

    recovers = False

    def __init__(self, history: int = 100) -> None:
        self._history = history
        self._pairs: list[tuple[Array, Array]] = []
        self._before: tuple[Array, Array] | None = None

    def at(self, shape: tuple[int, ...]) -> "Warm":
        """Ready for pictures of `shape`."""
        self._before = None
        self._pairs = [(_enlarged(s, shape), _enlarged(y, shape) * _shrink(s, shape)) for s, y in self._pairs]
        self._pairs = [(s, y) for s, y in self._pairs if _dot(s, y) > 1e-10]
        return self

    def step(self, picture: Array, gradient: Array, value: Any) -> None:  # noqa: ARG002 -- the protocol's
        if self._before is not None:
            s, y = picture - self._before[0], gradient - self._before[1]
            if _dot(s, y) > 1e-10:
                self._pairs = [*self._pairs[-self._history + 1 :], (s, y)]
        self._before = picture.copy(), gradient.copy()
        picture -= self._direction(gradient)

    def _direction(self, gradient: Array) -> Array:
        if not self._pairs:
            return gradient * np.float32(min(1.0, 1 / np.abs(gradient).sum()))
        q, alphas = gradient.copy(), []
        for s, y in reversed(self._pairs):
            alphas.append(alpha := _dot(s, q) / _dot(s, y))
            q -= np.float32(alpha) * y
        s, y = self._pairs[-1]
        q *= np.float32(_dot(s, y) / _dot(y, y))
        for (s, y), alpha in zip(self._pairs, reversed(alphas), strict=True):
            q += np.float32(alpha - _dot(y, q) / _dot(s, y)) * s
        return q


def _dot(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))


def _shrink(old: Array, shape: tuple[int, ...]) -> np.float32:
    return np.float32(old.size / np.prod(shape))


def _enlarged(picture: Array, shape: tuple[int, ...]) -> Array:
    grown = cv2.resize(picture[0].transpose(1, 2, 0), (shape[3], shape[2]), interpolation=cv2.INTER_LANCZOS4)
    return np.ascontiguousarray(grown.transpose(2, 0, 1)[None], np.float32)
