"""For the tests of pictures: files by Pillow and tifffile, which know nothing of ours, and what an error must be."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from stylogram.errors import Error

Image = pytest.importorskip("PIL.Image", reason="Pillow is the tests' second reader and writer")
tifffile = pytest.importorskip("tifffile", reason="tifffile is the tests' second reader and writer")

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 40, 60
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([X * 4, Y * 6, (X + Y) * 2], -1).astype(np.uint8)
ALPHA = (40 + X * 3).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
GREY = RGB[..., 0]


def pillow(array: Array, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image, buffer = Image.fromarray(array), io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def tif(array: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def wide(array: Array) -> npt.NDArray[np.uint16]:
    return array.astype(np.uint16) * np.uint16(257)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to do anything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def one_line(raised: pytest.ExceptionInfo[Error], *words: str) -> None:
    text = str(raised.value)
    assert "\n" not in text
    for word in words:
        assert word in text
