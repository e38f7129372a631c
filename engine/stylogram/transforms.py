"""Shifts, turns and zooms of pictures, linear in the pixels, each with its exact adjoint: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩.

A picture that is to please a network wherever it lies, at several sizes and a little turned, has no use for patterns of
single pixels (Mordvintsev et al. 2015; Olah, Mordvintsev and Schubert 2017, on transformation robustness).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from .session import Array, FeaturePass, Shape, aligned

GREY = 0.5  # what lies outside the picture


class Transform(Protocol):
    """A linear map of pictures (N,C,H,W), plus a constant outside them."""

    def apply(self, pictures: Array, into: Array) -> None:
        """into = A pictures + constant."""

    def adjoint(self, gradient: Array, into: Array) -> None:
        """into = Aᵀ gradient."""


@dataclass(frozen=True)
class Roll:
    """Shifted by whole pixels, what leaves on one side comes in on the other."""

    down: int
    right: int

    def apply(self, pictures: Array, into: Array) -> None:
        """As in Transform."""
        into[:] = np.roll(pictures, (self.down, self.right), (2, 3))

    def adjoint(self, gradient: Array, into: Array) -> None:
        """As in Transform: the shift back."""
        into[:] = np.roll(gradient, (-self.down, -self.right), (2, 3))


class Sampling:
    """Turned, zoomed and shifted about the middle, bilinear, onto a canvas that may be larger; grey outside.

    The canvas's point p from its middle shows the picture's point R(-degrees) (p - shift) / zoom from its own.
    """

    def __init__(
        self,
        size: tuple[int, int],
        canvas: tuple[int, int],
        *,
        zoom: float = 1.0,
        degrees: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._size, self._canvas = size, canvas
        y, x = np.mgrid[: canvas[0], : canvas[1]].astype(np.float64)
        y -= (canvas[0] - 1) / 2 + shift[0]
        x -= (canvas[1] - 1) / 2 + shift[1]
        sine, cosine = math.sin(math.radians(degrees)) / zoom, math.cos(math.radians(degrees)) / zoom
        self._corners(cosine * y - sine * x + (size[0] - 1) / 2, sine * y + cosine * x + (size[1] - 1) / 2)

    def _corners(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> None:
        """The four pixels around every point, and their shares; none for a pixel outside."""
        top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        down, right = y - top, x - left
        height, width = self._size
        indices, shares = [], []
        for row, column, share in (
            (top, left, (1 - down) * (1 - right)),
            (top, left + 1, (1 - down) * right),
            (top + 1, left, down * (1 - right)),
            (top + 1, left + 1, down * right),
        ):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            indices.append(np.where(inside, row * width + column, 0).ravel())
            shares.append(np.where(inside, share, 0).ravel().astype(np.float32))
        self._indices, self._shares = indices, shares
        self._outside = np.asarray(GREY * (1 - np.sum(shares, axis=0)), np.float32)

    def apply(self, pictures: Array, into: Array) -> None:
        """As in Transform."""
        flat = pictures.reshape(-1, self._size[0] * self._size[1])
        rows = into.reshape(len(flat), -1)
        for plane, row in zip(flat, rows, strict=True):
            row[:] = self._outside
            for index, share in zip(self._indices, self._shares, strict=True):
                row += plane[index] * share

    def adjoint(self, gradient: Array, into: Array) -> None:
        """As in Transform."""
        count = self._size[0] * self._size[1]
        for row, plane in zip(gradient.reshape(-1, self._shares[0].size), into.reshape(-1, count), strict=True):
            plane[:] = 0
            for index, share in zip(self._indices, self._shares, strict=True):
                plane += np.bincount(index, row * share, count)


class Views(Protocol):
    """Where transforms come from."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int]) -> Transform:
        """The next one, of pictures of `size` onto a canvas."""


@dataclass(frozen=True)
class Rolls:
    """Shifts drawn from -jitter to jitter pixels in both directions."""

    jitter: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int]) -> Transform:  # noqa: ARG002
        """A shift for pictures of `size`; the canvas is as large."""
        down, right = rng.integers(-self.jitter, self.jitter + 1, 2)
        return Roll(int(down), int(right))


@dataclass
class Settling:
    """Shifts of up to `jitter` pixels for the first `count` pictures, then none."""

    jitter: int
    count: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int]) -> Transform:
        """As Rolls."""
        self.count -= 1
        return Rolls(self.jitter if self.count >= 0 else 0).draw(rng, size, canvas)


@dataclass(frozen=True)
class Samplings:
    """Shifts of up to jitter/2 pixels, zooms from 1 - zoom to 1 + zoom and turns of up to `degrees`."""

    jitter: float = 0.0
    zoom: float = 0.0
    degrees: float = 0.0

    def draw(self, rng: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int]) -> Transform:
        """A transform of pictures of `size` onto a canvas."""
        down, right, zoom, degrees = rng.uniform(-1, 1, 4)
        shift = (down * self.jitter / 2, right * self.jitter / 2)
        if not self.zoom and not self.degrees:  # whole pixels blur nothing
            even = [(c - s) % 2 / 2 for c, s in zip(canvas, size, strict=True)]
            shift = (round(shift[0] - even[0]) + even[0], round(shift[1] - even[1]) + even[1])
        return Sampling(size, canvas, zoom=1 + zoom * self.zoom, degrees=degrees * self.degrees, shift=shift)


class ViewedPass(FeaturePass):
    """A FeaturePass that sees its pictures through a transform, another one at every forward().

    `picture` and `gradient` are those before the transform, (N,3,*size); the features are those of what is seen,
    (N,3,*canvas).
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        taps: list[str],
        shape: Shape,
        views: Views,
        rng: np.random.Generator,
        *,
        canvas: tuple[int, int] | None = None,
        threads: int = 0,
        convolution: str | None = None,
    ) -> None:
        self._canvas_size = canvas or shape[2:]
        super().__init__(model, taps, (*shape[:2], *self._canvas_size), threads=threads, convolution=convolution)
        self._seen, self._on_seen = self.picture, self.gradient
        self._views, self._rng = views, rng
        self._view: Transform = Roll(0, 0)
        self.shape = shape
        self.picture, self.gradient = aligned(shape), aligned(shape)

    def forward(self) -> None:
        """picture -> features, by another transform than before."""
        self._view = self._views.draw(self._rng, self.shape[2:], self._canvas_size)
        self._view.apply(self.picture, self._seen)
        super().forward()

    def backward(self) -> None:
        """gradients -> gradient, through the transform of the last forward()."""
        super().backward()
        self._view.adjoint(self._on_seen, self.gradient)
