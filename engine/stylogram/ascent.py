"""Steps of the programs that climb without a line search: DeepDream's, and Yosinski's with its regularisers.

Both are optimisers for the driver, which minimises: g is the gradient of the loss, and they step against it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .objective import Values
from .session import Array

EPSILON = 1e-12  # a gradient of nothing but zeros moves nothing


class NormalisedStep:
    """x ← x − rate · g / mean|g|, each picture by its own mean (Mordvintsev et al. 2015, DeepDream's notebook)."""

    recovers = False

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def step(self, picture: Array, gradient: Array, value: Values) -> None:  # noqa: ARG002 -- the protocol's
        size = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
        picture -= (self._rate / np.maximum(size, EPSILON)).astype(np.float32) * gradient


@dataclass(frozen=True)
class Regularisers:
    """Yosinski, Clune, Nguyen, Fuchs and Lipson 2015, "Understanding neural networks through deep visualization",
    table 1, in pixels of 0 to 255 around the mean.

    `decay`: the part that a step takes off every pixel. `blur`: the Gaussian's deviation in pixels, every `blur_every`
    steps. `small_norm`, `small_contribution`: that percentage of the pixels becomes the mean: those nearest to it, and
    those that the activation owes least, |Σ_colours x · dA/dx|. `rate`: of the steps; `progress`: what a step shortens
    itself to raise the activation by, 0 for steps of the whole rate.
    """

    decay: float = 0.0
    blur: float = 0.0
    blur_every: int = 0
    small_norm: float = 0.0
    small_contribution: float = 0.0
    rate: float = 100.0
    progress: float = 0.0


class RegularisedAscent:
    """x ← r(x − rate · g), in this order: decay, blur, the pixels of small norm, those of small contribution.

    Their program crops the picture to 0 ... 255 before it is looked at: the stage's `clamp`.
    """

    recovers = False

    def __init__(self, regularisers: Regularisers, mean: Array) -> None:
        """`mean` (3), RGB in [0,1]: what the picture's zero is."""
        self._set = regularisers
        self._mean = np.asarray(mean, np.float32).reshape(1, 3, 1, 1)
        self._steps = 0

    def step(self, picture: Array, gradient: Array, value: Values) -> None:  # noqa: ARG002 -- the protocol's
        chosen, self._steps = self._set, self._steps + 1
        rises = gradient * np.float32(-1 / 255)  # dA/dX for X = 255 (x - mean)
        centred = (picture - self._mean) * np.float32(255)
        centred += self._rate(rises) * rises
        centred *= np.float32(1 - chosen.decay)
        if chosen.blur and self._steps % chosen.blur_every == 0:
            _blur(centred, chosen.blur)
        if chosen.small_norm:
            _flatten(centred, np.sqrt(np.square(centred).sum(axis=1)), chosen.small_norm)
        if chosen.small_contribution:
            _flatten(centred, np.abs((centred * rises).sum(axis=1)), chosen.small_contribution)
        picture[:] = centred / np.float32(255) + self._mean

    def _rate(self, rises: Array) -> Array:
        """(N,1,1,1)."""
        square = np.square(rises, dtype=np.float64).sum(axis=(1, 2, 3), keepdims=True)
        whole = np.full_like(square, self._set.rate)
        if self._set.progress:
            whole = np.minimum(whole, self._set.progress / np.maximum(square, EPSILON))
        return np.asarray(whole, np.float32)


def _blur(pictures: Array, deviation: float) -> None:
    for picture in pictures:
        for plane in picture:
            plane[:] = cv2.GaussianBlur(plane, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)


def _flatten(pictures: Array, sizes: Array, percentage: float) -> None:
    """The `percentage` of each picture's pixels whose `sizes` (N,H,W) are least become 0."""
    limits = np.percentile(sizes, percentage, axis=(1, 2), keepdims=True)
    pictures *= (sizes >= limits)[:, None]
