"""Tiles: the patch of a picture that a unit sees and its projection, as small pictures of one size."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from stylogram_export.receptive import Field

from . import pictures
from .session import Array
from .sheets import sheet

LEAST, MOST = 64, 128  # a tile's side in pixels; smaller fields are enlarged by whole numbers, larger ones reduced
CLEAR = 99.5  # the percentile of |projection| that becomes full contrast
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Box:
    """Rows and columns of a picture: negative, or beyond its size, where padding is seen."""

    top: int
    left: int
    height: int
    width: int


def box(field: Field, place: int, columns: int, size: int) -> Box:
    """What the unit at `place`, counted along rows of `columns`, sees of a picture of `size` squared."""
    if field.stride is None or field.size is None or field.start is None:
        return Box(0, 0, size, size)
    position = divmod(place, columns)
    first = [math.floor(field.start[axis] + field.stride[axis] * position[axis]) for axis in (0, 1)]
    return Box(first[0], first[1], math.ceil(field.size[0]), math.ceil(field.size[1]))


def cropped(picture: Array, seen: Box, edge: bool) -> Array:
    """A box of a picture (3,H,W) as (h,w,3); outside: its edge repeated, or zeros."""
    rows, columns = (
        np.arange(start, start + length) for start, length in ((seen.top, seen.height), (seen.left, seen.width))
    )
    height, width = picture.shape[1:]
    inside = picture[:, rows.clip(0, height - 1)][:, :, columns.clip(0, width - 1)]
    if not edge:
        inside = inside * ((rows >= 0) & (rows < height))[:, None] * ((columns >= 0) & (columns < width))
    return np.ascontiguousarray(inside.transpose(1, 2, 0))


def stretched(projection: Array) -> Array:
    """A projection (h,w,3) as a picture in [0,1]: 0 is grey; its contrast is its own, so that each one can be seen."""
    scale = float(np.percentile(np.abs(projection), CLEAR)) or float(np.abs(projection).max())
    if not scale:
        return np.full_like(projection, 0.5)
    shown: Array = np.clip(np.float32(0.5) + projection * np.float32(0.5 / scale), 0, 1)
    return shown


def tile(rgb: Array) -> Bytes:
    """(h,w,3) in [0,1] with its longer side between LEAST and MOST: pixels stay square pixels when it is enlarged."""
    longest = max(rgb.shape[:2])
    if longest > MOST:
        size = [max(1, round(side * MOST / longest)) for side in rgb.shape[:2]]
        rgb = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
    factor = -(-LEAST // longest) if longest < LEAST else 1
    return pictures.to_uint8(np.repeat(np.repeat(rgb, factor, axis=0), factor, axis=1))


def block(tiles: list[Bytes], columns: int = 3, gap: int = 2) -> Array:
    """Tiles in a square: (H,W,3) in [0,1]."""
    return sheet([one.astype(np.float32) / np.float32(255) for one in tiles], columns, gap=gap)
