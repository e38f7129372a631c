"""Resizing one axis as a matrix: y = A x. ONNX's Resize is one such matrix an axis, whatever its mode."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Error
from .graph import Array


@dataclass(frozen=True)
class Resampling:
    """How Resize works, in the words of its attributes (opset 18)."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def matrix(how: Resampling, size: int, made: int, scale: float, region: tuple[float, float] = (0.0, 1.0)) -> Array:
    """A, (made, size) in float64: each row holds the weights with which one output takes the inputs.

    `scale` is output over input as the node states it; `region` the part cropped by `tf_crop_and_resize`.
    """
    places = _places(how, size, made, scale, region)
    found = np.zeros((made, size))
    for row, place in zip(found, places, strict=True):
        if how.coordinates == "tf_crop_and_resize" and not 0 <= place <= size - 1:
            continue  # the extrapolation value, which does not depend on x
        _fill(row, how, float(place), scale)
    return found


def _places(how: Resampling, size: int, made: int, scale: float, region: tuple[float, float]) -> Array:
    """Where each output lies in the input. In float32 where it is rounded: so does the runtime, and halves decide."""
    kind: Any = np.float32 if how.mode == "nearest" else np.float64
    o: Array = np.arange(made, dtype=kind)
    s = kind(scale)
    match how.coordinates:
        case "align_corners":
            places = o * kind(size - 1) / kind(made - 1) if made > 1 else o * 0
        case "asymmetric":
            places = o / s
        case "tf_crop_and_resize":
            start, end = region
            middle = (start + end) / 2 * (size - 1)
            places = start * (size - 1) + o * ((end - start) * (size - 1) / (made - 1)) if made > 1 else o + middle
        case "pytorch_half_pixel" if made == 1:
            places = o * 0
        case "half_pixel" | "pytorch_half_pixel":
            places = (o + kind(0.5)) / s - kind(0.5)
        case "half_pixel_symmetric":
            offset = size / 2 * (1 - made / (scale * size))
            places = kind(offset) + (o + kind(0.5)) / s - kind(0.5)
        case other:
            accepted = "align_corners, asymmetric, half_pixel, half_pixel_symmetric, pytorch_half_pixel"
            raise Error(f"[Resize] coordinates {other!r}; accepted: {accepted}, tf_crop_and_resize")
    return np.asarray(places)


def _fill(row: Array, how: Resampling, place: float, scale: float) -> None:
    """Adds the weights of one output to its row of zeros."""
    if how.mode == "nearest":
        row[min(max(_rounded(how.nearest, place), 0), row.size - 1)] = 1
        return
    # Antialiasing widens the window where pixels are dropped.
    narrow = min(scale, 1.0) if how.antialias else 1.0
    reach = (1 if how.mode == "linear" else 2) / narrow
    first = math.floor(place - reach) + 1 if how.antialias else math.floor(place) - int(reach) + 1
    points = np.arange(first, first + math.ceil(2 * reach) + 1 if how.antialias else first + int(2 * reach))
    distance = np.abs(points - place) * narrow
    weights = np.maximum(1 - distance, 0) if how.mode == "linear" else _cubic(distance, how.cubic)
    if how.exclude_outside:
        weights = np.where((points >= 0) & (points < row.size), weights, 0)
    if how.exclude_outside or how.antialias:
        weights = weights / weights.sum()
    np.add.at(row, np.clip(points, 0, row.size - 1), weights)


def _rounded(mode: str, place: float) -> int:
    match mode:
        case "floor":
            return math.floor(place)
        case "ceil":
            return math.ceil(place)
        case "round_prefer_ceil":
            return math.floor(place + 0.5)
        case _:
            return math.ceil(place - 0.5)


def _cubic(distance: Array, a: float) -> Array:
    """The kernel of Keys (1981), equation 4, with the free parameter `a`."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))
