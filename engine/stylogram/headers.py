"""What a picture file says of itself before it is decoded: format, size, orientation, and whether it is all there.

OpenCV decodes; this looks first, because a decoder may hand out half a picture from half a file, ignores orientation
when it keeps alpha, and allocates whatever a header asks for. Each format is one function from bytes to `Header`.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import tiff
from .errors import Error


class DamagedError(Exception):
    """The bytes end early or contradict themselves; the text says how."""


@dataclass(frozen=True)
class Header:
    """Size in pixels as stored (before orientation); orientation 1-8 as in EXIF; `layout` for TIFF only."""

    format: str
    height: int
    width: int
    orientation: int = 1
    layout: tiff.Layout | None = None


def inspect(data: bytes) -> Header:
    """The header of a whole JPEG, PNG, TIFF, WebP or BMP file.

    Raises:
        Error: none of these formats, or the file is cut short or damaged. The caller puts the file's name in front.
    """
    for name, (signature, parse) in FORMATS.items():
        if not re.match(signature, data, re.DOTALL):
            continue
        try:
            return parse(data)
        except DamagedError as damage:
            raise Error(f"is a truncated or damaged {name} file ({damage}); accepted: a whole one") from None
        except (struct.error, IndexError):
            raise Error(f"is a truncated {name} file (its header ends early); accepted: a whole one") from None
    start = data[:8].hex(" ") if data else "nothing"
    raise Error(f"is not a picture (it starts with bytes {start}); accepted: {accepted()}")


def accepted() -> str:
    """The formats, for messages: `a JPEG, PNG, TIFF, WebP or BMP file`."""
    *most, last = FORMATS
    return f"a {', '.join(most)} or {last} file"


def exif_orientation(exif: bytes) -> int:
    """The EXIF orientation 1-8 in a TIFF-structured EXIF block; 1 where there is none or none that makes sense."""
    block = exif.removeprefix(b"Exif\0\0")
    try:
        values = tiff.directory(block).get(tiff.ORIENTATION, [1])
    except tiff.UnreadableError:
        return 1  # A broken EXIF block is no broken picture: every viewer shows it as stored.
    return int(values[0]) if values and values[0] in range(1, 9) else 1


def _jpeg(data: bytes) -> Header:
    size, orientation, scans = (0, 0), 1, 0
    for marker, body in _segments(data):
        if marker in _SOF:
            if size[0]:
                raise DamagedError("it has two frames")
            size = struct.unpack(">HH", body[1:5])
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        elif marker == 0xDA:
            scans += 1
    if not size[0] or not scans:
        raise DamagedError("it has no frame" if not size[0] else "it has no scan")
    return Header("JPEG", size[0], size[1], orientation)


# Start-of-frame markers: C0-CF without DHT (C4), JPG (C8) and DAC (CC).
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In entropy-coded data FF is followed by 00 (a stuffed FF) or a restart marker D0-D7; anything else is a marker.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments up to the end-of-image marker; DamagedError where the file ends without one."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = found.group(1)[0], found.end()
        if marker == 0xD9:
            return
        if marker == 0x01:  # TEM stands alone
            continue
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, data[at + 2 : at + length]
        at += length
    raise DamagedError("it ends before its end-of-image marker")


def _png(data: bytes) -> Header:
    size, orientation, at = (0, 0), 1, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body, at = data[at + 8 : at + 8 + length], at + length + 12
        if at > len(data):
            break
        # Critical chunks have a capital first letter; decoders live with a damaged remark.
        if kind[0] < 0x60 and zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, at - 4)[0]:
            raise DamagedError(f"checksum of chunk {kind.decode('ascii', 'replace')}")
        if kind == b"IHDR":
            size = struct.unpack_from(">II", body)
        elif kind == b"eXIf":
            orientation = exif_orientation(body)
        elif kind == b"IEND":
            return Header("PNG", size[1], size[0], orientation)
    raise DamagedError("it ends before its IEND chunk")


def _webp(data: bytes) -> Header:
    (declared,) = struct.unpack_from("<I", data, 4)
    if declared + 8 > len(data):
        raise DamagedError(f"it declares {declared + 8} bytes and has {len(data)}")
    size, orientation, at = (0, 0), 1, 12
    while at + 8 <= declared + 8:
        kind, length = struct.unpack_from("<4sI", data, at)
        body, at = data[at + 8 : at + 8 + length], at + 8 + length + length % 2
        if len(body) < length:
            raise DamagedError(f"chunk {kind.decode('ascii', 'replace')} ends early")
        if not size[0] and kind in _WEBP_SIZES:
            size = _WEBP_SIZES[kind](body)
        elif kind == b"EXIF":
            orientation = exif_orientation(body)
    if not size[0]:
        raise DamagedError("it has no picture chunk")
    return Header("WebP", size[1], size[0], orientation)


def _vp8x(body: bytes) -> tuple[int, int]:
    return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")


def _vp8(body: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _vp8l(body: bytes) -> tuple[int, int]:
    bits = struct.unpack_from("<I", body, 1)[0]
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


_WEBP_SIZES: dict[bytes, Callable[[bytes], tuple[int, int]]] = {b"VP8X": _vp8x, b"VP8 ": _vp8, b"VP8L": _vp8l}


def _bmp(data: bytes) -> Header:
    pixels, header = struct.unpack_from("<II", data, 10)
    shape = "<HHHH" if header == 12 else "<iiHH"  # the OS/2 header has 12 bytes and 16-bit sides
    width, height, _, bits = struct.unpack_from(shape, data, 18)
    compression = 0 if header == 12 else struct.unpack_from("<I", data, 30)[0]
    row = (width * bits + 31) // 32 * 4
    if compression in (0, 3, 6) and pixels + row * abs(height) > len(data):
        raise DamagedError(f"it needs {pixels + row * abs(height)} bytes and has {len(data)}")
    return Header("BMP", abs(height), abs(width))


def _tiff(data: bytes) -> Header:
    try:
        layout = tiff.layout(data)
    except tiff.UnreadableError as problem:
        raise DamagedError(str(problem)) from None
    # OpenCV turns TIFF pictures itself, whichever way they are read; so nothing is left to do.
    return Header("TIFF", layout.height, layout.width, 1, layout)


FORMATS: dict[str, tuple[bytes, Callable[[bytes], Header]]] = {
    "JPEG": (rb"\xff\xd8\xff", _jpeg),
    "PNG": (rb"\x89PNG\r\n\x1a\n", _png),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", _tiff),
    "WebP": (rb"RIFF....WEBP", _webp),
    "BMP": (rb"BM.{12}[\x0c-\x7c]\0\0\0", _bmp),
}
