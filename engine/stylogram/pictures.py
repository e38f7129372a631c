"""Pictures in and out: files and arrays to RGB in [0, 1] and back, and their sizes.

Colour profiles are ignored: values are taken as they stand and written without a profile, which is right for sRGB, the
usual case. Of a file with several pictures (TIFF pages, animations) the first is read.
"""

import math
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from . import files, headers, remote, tiff
from .errors import Error

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

MIN_SIDE = 16
"""The least side in pixels: the networks' pools (16 times smaller at conv5_1) leave nothing of less."""
MAX_PIXELS = 2**28
"""The most pixels that are decoded (16,384 squared: 3 GiB as float RGB); a file's header may claim any number."""
OVERSHOOT = 0.1
"""How far floats may leave [0, 1] and are clipped: resampling filters ring. Further out, the scale is another one."""


@dataclass(frozen=True)
class Picture:
    """RGB (H, W, 3) float32 in [0, 1]; alpha (H, W) in [0, 1] or None; bits a sample worth writing: 8 or 16."""

    rgb: Floats
    alpha: Floats | None
    depth: int


@dataclass(frozen=True)
class Writer:
    """What a format can hold, and OpenCV's parameters for it."""

    depths: tuple[int, ...]
    alpha: bool
    parameters: tuple[int, ...] = ()


# JPEG keeps its colours at full resolution: brush strokes are colour edges, and 4:2:0 smears them.
_JPEG = Writer(
    (8,),
    False,
    (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
_TIFF = Writer((8, 16), True)
WRITERS = {
    ".png": Writer((8, 16), True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": Writer((8,), True, (cv2.IMWRITE_WEBP_QUALITY, 95)),
    ".bmp": Writer((8,), False),
}
"""By suffix; `files.check_output(path, WRITERS)` asks before computing whether `write` will accept a name."""


def read(source: str | os.PathLike[str] | Array) -> Picture:
    """A picture from a file or an array.

    Args:
        source: a JPEG, PNG, TIFF, WebP or BMP file of 8 or 16 bits (TIFF: also float in [0, 1]), grey, palette, RGB or
            RGBA, turned as its EXIF orientation says; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB(A),
            of uint8, uint16 or float in [0, 1]. Grey becomes three equal channels. Alpha is unassociated.

    Returns:
        The picture; its depth is 16 for uint16 and for floats.

    Raises:
        Error: one line with what was got and what is accepted: no such file, a directory, not readable, empty, no
            picture, cut short, a side under MIN_SIDE, over MAX_PIXELS, NaN or infinite values, another scale.

    >>> read(np.full((16, 20), 255, np.uint8)).rgb[0, 0]
    array([1., 1., 1.], dtype=float32)
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "the array")
    if isinstance(source, str | os.PathLike):
        return decode(contents(source), os.fspath(source))
    raise Error(f"a picture must be a path or a NumPy array, got {type(source).__name__}")


def decode(data: bytes, name: str = "the picture") -> Picture:
    """A picture from the bytes of a file, as `read` does it; `name` is what errors call it."""
    if not data:
        raise Error(f"{name} is empty (0 bytes); accepted: {headers.accepted()}")
    try:
        header = headers.inspect(data)
    except Error as problem:
        raise Error(f"{name} {problem}") from None
    _check_size(header.height, header.width, name)
    if header.layout:
        _check_layout(header.layout, name)
    pixels = _oriented(_decoded(data, header, name), header.orientation)
    return _as_stored(_from_array(_rgb_first(pixels), name), header.layout)


def write(
    path: str | os.PathLike[str], rgb: npt.NDArray[np.floating[Any]], alpha: Array | None = None, depth: int = 8
) -> None:
    """Write a picture in the format of the path's suffix (`WRITERS`), whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        rgb: (H, W, 3) floats; clipped to [0, 1] and rounded to the nearest step.
        alpha: (H, W) in [0, 1], unassociated. Formats without alpha (`WRITERS[...].alpha`) leave it out.
        depth: 8 or 16 bits; formats without 16 (`WRITERS[...].depths`) write 8.

    Raises:
        Error: an unknown suffix, a wrong shape, NaN or infinite values, a size that the format cannot hold, or the file
            cannot be written.
    """
    data = encoded(path, rgb, alpha, depth)
    with files.atomic(path) as file:
        file.write(data)


def encoded(
    path: str | os.PathLike[str], rgb: npt.NDArray[np.floating[Any]], alpha: Array | None = None, depth: int = 8
) -> bytes:
    """What write() puts into a file of this name; the same arguments and errors, but nothing is written."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise Error(f"{path} has suffix {suffix!r}; accepted: {', '.join(WRITERS)}")
    writer = WRITERS[suffix]
    _check_writable(path, rgb, alpha, depth)
    steps = depth if depth in writer.depths else 8
    planes = _quantised(rgb, steps)[..., ::-1]
    if alpha is not None and writer.alpha:
        planes = np.dstack([planes, _quantised(alpha, steps)])
    return _encoded(suffix, np.ascontiguousarray(planes), writer, path)


def to_uint8(rgb: Array) -> npt.NDArray[np.uint8]:
    """Floats, clipped to [0, 1], as the nearest of 256 steps; the same shape.

    >>> to_uint8(np.array([0.0, 0.5, 2.0])).tolist()
    [0, 128, 255]
    """
    return _quantised(rgb, 8).astype(np.uint8, copy=False)


def fitted(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer side is `long_side`; the aspect is kept to the nearest pixel.

    Raises:
        Error: a side would fall under MIN_SIDE.

    >>> fitted(300, 400, 256)
    (192, 256)
    """
    longest = max(height, width)
    size = tuple((side * long_side * 2 + longest) // (2 * longest) for side in (height, width))
    if min(size) < MIN_SIDE:
        least = math.ceil((MIN_SIDE - 0.5) * longest / min(height, width))
        raise Error(
            f"a picture of {width}x{height} pixels becomes {size[1]}x{size[0]} at size {long_side}; "
            f"accepted: sides of at least {MIN_SIDE}, for this picture a size of at least {least}"
        )
    return size[0], size[1]


def resized(array: Array, size: tuple[int, int]) -> Floats:
    """`array` (H, W) or (H, W, C) in [0, 1] resampled to `size` = (height, width), clipped to [0, 1], float32.

    An axis that shrinks is averaged over areas, one that grows is interpolated with Lanczos' 8-tap kernel.
    """
    source = np.asarray(array, np.float32)
    height, width = source.shape[:2]
    shrunk = (min(height, size[0]), min(width, size[1]))
    result = _resampled(source, shrunk, cv2.INTER_AREA)
    return np.clip(_resampled(result, size, cv2.INTER_LANCZOS4), 0, 1)


def to_batch(rgb: Array) -> Floats:
    """(H, W, 3) -> (1, 3, H, W), float32, contiguous: what the networks take."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(rgb, np.float32), -1, 0)[None])


def from_batch(batch: Array) -> Floats:
    """(1, 3, H, W) -> (H, W, 3), float32, contiguous: the inverse of `to_batch`."""
    if batch.ndim != 4 or batch.shape[:2] != (1, 3):
        raise Error(f"a batch of one picture must be (1, 3, H, W), got {batch.shape}")
    return np.ascontiguousarray(np.moveaxis(np.asarray(batch[0], np.float32), 0, -1))


def contents(source: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture's file, or of a URL that fsspec knows. Raises Error for what cannot be read."""
    accepted = f"accepted: {headers.accepted()}"
    if remote.is_url(source):
        return remote.read(os.fspath(source))
    try:
        with open(source, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise Error(f"{source} is a device, not a file; {accepted}")
            return file.read()
    except FileNotFoundError:
        raise Error(f"there is no file {os.fspath(source) or repr('')}; {accepted}") from None
    except IsADirectoryError:
        raise Error(f"{source} is a directory; {accepted}") from None
    except OSError as problem:
        raise Error(f"{source} cannot be read: {files.reason(problem)}; {accepted}") from None
    except ValueError as problem:  # a NUL in the name; Error, raised above, says what it is already
        raise problem if isinstance(problem, Error) else Error(f"{source!r} is no file name; {accepted}") from None


def _check_size(height: int, width: int, name: str) -> None:
    if min(height, width) < MIN_SIDE:
        raise Error(f"{name} has {width}x{height} pixels; accepted: sides of at least {MIN_SIDE}")
    if height * width > MAX_PIXELS:
        raise Error(f"{name} has {width}x{height} pixels; accepted: up to {MAX_PIXELS:,} pixels in all")


# TIFF's SampleFormat: 1 unsigned, 3 float. OpenCV reads others, but their scale is anybody's guess.
_TIFF_SAMPLES = {(1, 1), (4, 1), (8, 1), (16, 1), (32, 3), (64, 3)}
_TIFF_KINDS = {1: "unsigned", 2: "signed", 3: "float"}


def _check_layout(layout: tiff.Layout, name: str) -> None:
    if (layout.bits, layout.kind) not in _TIFF_SAMPLES:
        got = f"{layout.bits}-bit {_TIFF_KINDS.get(layout.kind, 'untyped')} samples"
        choices = ", ".join(f"{bits}-bit {_TIFF_KINDS[kind]}" for bits, kind in sorted(_TIFF_SAMPLES))
        raise Error(f"{name} is a TIFF file of {got}; accepted: {choices}")
    if layout.samples > layout.colours and not layout.has_alpha:
        raise Error(
            f"{name} is a TIFF file of {layout.samples} samples a pixel, {layout.colours} of them colour; "
            "accepted: grey, RGB or RGBA"
        )
    if layout.bits > 8 and layout.photometric not in (0, 1, 2):
        raise Error(f"{name} is a {layout.bits}-bit TIFF file in neither grey nor RGB; accepted: 8 bit, grey or RGB")


def _decoded(data: bytes, header: headers.Header, name: str) -> Array:
    """The pixels as OpenCV gives them: (H, W), BGR or BGRA."""
    if header.layout and header.layout.has_alpha and header.layout.bits == 8:
        data = tiff.as_associated(data)
    with _quiet():
        try:
            pixels: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None:
        raise Error(f"{name} is a damaged or unusual {header.format} file, not decodable; accepted: a whole one")
    if sorted(pixels.shape[:2]) != sorted((header.height, header.width)):  # of TIFF it is turned already
        got = f"its header says {header.width}x{header.height} pixels, and it has {pixels.shape[1]}x{pixels.shape[0]}"
        raise Error(f"{name} is a damaged {header.format} file: {got}; accepted: a whole one")
    if header.layout and not header.layout.has_alpha and pixels.ndim == 3:
        pixels = pixels[..., :3]  # for CMYK libtiff makes up an opaque alpha
    return pixels


_loggers = 0
_log_level = 0
_log_lock = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV says nothing on stderr; its level is the process's, so the first thread in saves it, the last restores."""
    global _loggers, _log_level
    with _log_lock:
        if _loggers == 0:
            _log_level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _loggers += 1
    try:
        yield
    finally:
        with _log_lock:
            _loggers -= 1
            if _loggers == 0:
                cv2.utils.logging.setLogLevel(_log_level)


def _rgb_first(pixels: Array) -> Array:
    """BGR -> RGB, BGRA -> RGBA; grey as it is."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return pixels
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _oriented(pixels: Array, orientation: int) -> Array:
    """As it is to be seen, from EXIF orientation 1-8: bit 0 of 5-8 counts transposed ones, then the flips."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _as_stored(picture: Picture, layout: tiff.Layout | None) -> Picture:
    """Sets right what OpenCV does not: white-is-zero of over 8 bits, and colours that are multiplied by alpha."""
    if layout is None:
        return picture
    rgb = picture.rgb
    if layout.white_is_zero and layout.bits > 8:
        rgb = 1 - rgb
    if layout.premultiplied and picture.alpha is not None:
        alpha = picture.alpha[..., None]
        rgb = np.clip(np.divide(rgb, alpha, out=np.zeros_like(rgb), where=alpha > 0), 0, 1)
    return Picture(rgb, picture.alpha, picture.depth)


_SCALES = {np.dtype(np.uint8): (255, 8), np.dtype(np.uint16): (65535, 16)}
_FLOATS = (np.float16, np.float32, np.float64)


def _from_array(array: Array, name: str) -> Picture:
    """A grey or RGB(A) array of any accepted type as a Picture."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise Error(f"{name} has shape {array.shape}; accepted: (H, W), (H, W, 1), (H, W, 3), (H, W, 4)")
    _check_size(array.shape[0], array.shape[1], name)
    if array.dtype in _SCALES:
        top, depth = _SCALES[array.dtype]
        values = array.astype(np.float32)
        values /= top
    elif array.dtype in _FLOATS:
        values, depth = _unit(array, name), 16
    else:
        raise Error(f"{name} has values of type {array.dtype}; accepted: uint8, uint16, or float in [0, 1]")
    values = values if values.ndim == 3 else values[..., None]
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    rgb = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values[..., :3])
    return Picture(rgb, alpha, depth)


def _unit(array: Array, name: str) -> Floats:
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Error(f"{name} has NaN or infinite values; accepted: floats in [0, 1]")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise Error(f"{name} has float values from {low:g} to {high:g}; accepted: floats in [0, 1]")
    return np.clip(array, 0, 1).astype(np.float32)


def _check_writable(path: str | os.PathLike[str], rgb: Array, alpha: Array | None, depth: int) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not np.issubdtype(rgb.dtype, np.floating):
        raise Error(f"{path}: a picture to write must be (H, W, 3) floats, got {rgb.shape} of {rgb.dtype}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise Error(f"{path}: alpha must be {rgb.shape[:2]} as the picture, got {alpha.shape}")
    if depth not in (8, 16):
        raise Error(f"{path}: depth must be 8 or 16, got {depth}")
    for values in (rgb, alpha):
        if values is not None and not np.isfinite(values).all():
            raise Error(f"{path}: the picture to write has NaN or infinite values; accepted: floats in [0, 1]")


def _quantised(values: Array, depth: int) -> Array:
    """round(clip(x, 0, 1) (2^depth - 1)), halves up."""
    steps = np.clip(values, 0, 1)
    steps *= 2**depth - 1
    steps += 0.5
    return steps.astype(np.uint8 if depth == 8 else np.uint16)


def _encoded(suffix: str, planes: Array, writer: Writer, path: str | os.PathLike[str]) -> bytes:
    with _quiet():
        try:
            done, buffer = cv2.imencode(suffix, planes, writer.parameters)
        except cv2.error:
            done = False
    if not done:
        height, width = planes.shape[:2]
        raise Error(f"{path}: {width}x{height} pixels cannot be written as {suffix}; accepted: another format or size")
    data = buffer.tobytes()
    # OpenCV leaves the fourth sample unexplained, and readers differ about what it is.
    return tiff.with_unassociated_alpha(data) if writer is _TIFF and planes.shape[2] == 4 else data


def _resampled(array: Floats, size: tuple[int, int], method: int) -> Floats:
    if array.shape[:2] == size:
        return array
    # OpenCV resamples up to four channels at once and drops an axis of length one.
    blocks: Sequence[Floats] = (
        [array[..., at : at + 4] for at in range(0, array.shape[2], 4)] if array.ndim > 2 else [array]
    )
    try:
        done = [cv2.resize(np.ascontiguousarray(block), size[::-1], interpolation=method) for block in blocks]
    except cv2.error as problem:
        if problem.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{size[1]}x{size[0]} pixels take more memory than there is") from None
        raise
    return np.asarray(done[0] if array.ndim == 2 else np.dstack(done), np.float32)
