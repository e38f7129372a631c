"""The directory of a TIFF file (and of an EXIF block, which is one): what OpenCV does not tell and does not write.

OpenCV hands out 16-bit white-is-zero pictures inverted, drops the alpha of grey pictures, multiplies 8-bit colour by an
unassociated alpha, and writes no ExtraSamples tag. The directory (TIFF 6.0, section 2) tells what to set right.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, BITS, PHOTOMETRIC = 256, 257, 258, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_COUNTS = 273, 274, 277, 279
TILE_OFFSETS, TILE_COUNTS, EXTRA, FORMAT = 324, 325, 338, 339
ASSOCIATED, UNASSOCIATED = 1, 2

# Field types that hold whole numbers: BYTE, SHORT, LONG, LONG8.
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class UnreadableError(Exception):
    """The directory cannot be read, or points outside of the file."""


@dataclass(frozen=True)
class Layout:
    """How the samples of the first picture are stored; `kind`, TIFF's SampleFormat: 1 unsigned, 2 signed, 3 float."""

    height: int
    width: int
    bits: int
    kind: int
    photometric: int
    samples: int
    extra: tuple[int, ...]

    @property
    def colours(self) -> int:
        """Samples that are colour: the others are alpha or unknown."""
        expected = {2: 3, 5: 4, 6: 3, 8: 3}.get(self.photometric, 1)
        return min(expected, self.samples)

    @property
    def has_alpha(self) -> bool:
        return self.photometric == 2 and self.samples == 4

    @property
    def premultiplied(self) -> bool:
        return self.has_alpha and self.extra[:1] == (ASSOCIATED,)

    @property
    def white_is_zero(self) -> bool:
        return self.photometric == 0


@dataclass(frozen=True)
class _Entry:
    """One field: where its 12 (BigTIFF: 20) bytes are, and where its values are."""

    tag: int
    type: int
    count: int
    at: int
    values_at: int


@dataclass(frozen=True)
class _File:
    data: bytes
    order: str
    big: bool

    def numbers(self, entry: _Entry) -> list[int]:
        code = _INTEGERS.get(entry.type)
        if code is None:
            return []
        return list(self.unpack(f"{entry.count}{code}", entry.values_at))

    def unpack(self, shape: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + shape, self.data, at)
        except struct.error:
            raise UnreadableError("its directory points past its end") from None

    def entries(self) -> list[_Entry]:
        """The fields of the first directory, in the file's order."""
        start, count_code, step, pointer = (8, "Q", 20, "Q") if self.big else (4, "H", 12, "I")
        (at,) = self.unpack(pointer, start)
        (count,) = self.unpack(count_code, at)
        at += struct.calcsize(count_code)
        if at + count * step > len(self.data):
            raise UnreadableError("its directory is cut")
        return [self._entry(at + i * step, pointer) for i in range(count)]

    def _entry(self, at: int, pointer: str) -> _Entry:
        tag, kind, count = self.unpack("HH" + pointer, at)
        inline = 8 if self.big else 4
        values_at = at + 4 + inline
        if _SIZES.get(kind, 1) * count > inline:
            (values_at,) = self.unpack(pointer, values_at)
        return _Entry(tag, kind, count, at, values_at)


def directory(data: bytes) -> dict[int, list[int]]:
    """Tag -> whole numbers, for the first directory of a TIFF file or EXIF block.

    Raises:
        UnreadableError: it is no TIFF structure, or is cut.
    """
    file = _open(data)
    return {entry.tag: file.numbers(entry) for entry in file.entries()}


def layout(data: bytes) -> Layout:
    """How the first picture of a TIFF file is stored.

    Raises:
        UnreadableError: the directory cannot be read, has no size, or names pixels beyond the end of the file.
    """
    tags = directory(data)
    if not tags.get(WIDTH) or not tags.get(HEIGHT):
        raise UnreadableError("it has no width or height")
    for offsets, counts in ((STRIP_OFFSETS, STRIP_COUNTS), (TILE_OFFSETS, TILE_COUNTS)):
        ends = [a + n for a, n in zip(tags.get(offsets, []), tags.get(counts, []), strict=False)]
        if max(ends, default=0) > len(data):
            raise UnreadableError(f"its pixels reach to byte {max(ends)} and it has {len(data)}")
    return Layout(
        height=tags[HEIGHT][0],
        width=tags[WIDTH][0],
        bits=max(tags.get(BITS) or [1]),
        kind=max(tags.get(FORMAT) or [1]),
        photometric=(tags.get(PHOTOMETRIC) or [1])[0],
        samples=(tags.get(SAMPLES) or [1])[0],
        extra=tuple(tags.get(EXTRA, [])),
    )


def as_associated(data: bytes) -> bytes:
    """The same file with its alpha called associated, so that libtiff leaves the colours alone (8 bit)."""
    file = _open(data)
    patched = bytearray(data)
    for entry in file.entries():
        if entry.tag == EXTRA and entry.type == 3 and entry.count >= 1:
            struct.pack_into(file.order + "H", patched, entry.values_at, ASSOCIATED)
    return bytes(patched)


def with_unassociated_alpha(data: bytes) -> bytes:
    """The same file with an ExtraSamples tag that says: the fourth sample is alpha, colours not multiplied by it.

    The directory is copied to the end of the file with one more field; OpenCV writes classic TIFF with one directory.
    """
    file = _open(data)
    if file.big:
        raise UnreadableError("BigTIFF is not written here")
    fields = {entry.tag: data[entry.at : entry.at + 12] for entry in file.entries() if entry.tag != EXTRA}
    fields[EXTRA] = struct.pack(file.order + "HHIHH", EXTRA, 3, 1, UNASSOCIATED, 0)
    at = len(data) + len(data) % 2  # a directory begins on a word boundary
    body = struct.pack(file.order + "H", len(fields)) + b"".join(fields[tag] for tag in sorted(fields)) + bytes(4)
    return data[:4] + struct.pack(file.order + "I", at) + data[8:].ljust(at - 8, b"\0") + body


def _open(data: bytes) -> _File:
    orders: Sequence[tuple[bytes, str]] = ((b"II", "<"), (b"MM", ">"))
    for mark, order in orders:
        if data[:2] == mark and len(data) >= 8:
            (version,) = struct.unpack_from(order + "H", data, 2)
            if version in (42, 43):
                return _File(data, order, version == 43)
    raise UnreadableError("it has no TIFF header")
