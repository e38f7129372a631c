"""Bad pictures: each is one clear line, and no exception but Error ever comes out."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import RGB, RGBA, one_line, pillow, tif, unprivileged, wide
from stylogram import headers, pictures, tiff
from stylogram.errors import Error

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
WHOLE = {
    "jpeg": pillow(NOISE, "JPEG"),
    "jpeg progressive": pillow(NOISE, "JPEG", progressive=True),
    "png": pillow(NOISE, "PNG"),
    "webp": pillow(NOISE, "WEBP"),
    "webp rgba": pillow(RGBA, "WEBP", lossless=True),
    "bmp": pillow(NOISE, "BMP"),
    "tiff": tif(NOISE, photometric="rgb"),
    "tiff deflate": tif(NOISE, photometric="rgb", compression="zlib"),
    "tiff tiles": tif(NOISE, photometric="rgb", tile=(32, 32)),
    "tiff big": tif(NOISE, photometric="rgb", bigtiff=True),
    "tiff, directory last": cv2.imencode(".tif", NOISE)[1].tobytes(),
}


def refused(source: Any, *words: str) -> None:
    with pytest.raises(Error) as raised:
        pictures.read(source)
    one_line(raised, "accepted: ", *words)


def refused_bytes(data: bytes, *words: str, name: str = "photo.jpg") -> None:
    with pytest.raises(Error) as raised:
        pictures.decode(data, name)
    one_line(raised, f"{name} ", "accepted: ", *words)


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.jpg", "there is no file", "none.jpg", "JPEG, PNG, TIFF, WebP or BMP")
    refused(tmp_path, "is a directory")
    refused("a\0b.jpg", "no file name")
    refused("x" * 5000, "File name too long")
    refused("/dev/zero", "is a device")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(WHOLE["png"])
    path.chmod(0)
    with unprivileged():
        refused(path, "photo.png", "Permission denied")


def test_a_pipe_is_read_as_a_file() -> None:
    ends = os.pipe()
    os.write(ends[1], pillow(RGB, "PNG"))
    os.close(ends[1])
    assert pictures.read(f"/dev/fd/{ends[0]}").rgb.shape == RGB.shape
    os.close(ends[0])


def test_empty_and_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    refused(tmp_path / "empty.jpg", "empty.jpg is empty (0 bytes)")
    for data in (b"x", b"hello, world\n", b"GIF89a" + bytes(50), b"%PDF-1.7", bytes(range(256)), b"BM", b"RIFF"):
        refused_bytes(data, "is not a picture", data[:8].hex(" "))


@pytest.mark.parametrize("name", WHOLE)
def test_cut_anywhere(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Every beginning of a file is refused, down to the one that lacks the last byte."""
    data = WHOLE[name]
    pictures.decode(data)
    lengths = {*range(200), *range(200, len(data), 97), *range(len(data) - 30, len(data))}
    accepted = [length for length in sorted(lengths) if length < len(data) and _is_accepted(data[:length])]
    assert accepted == []
    assert capfd.readouterr().err == ""


def _is_accepted(data: bytes) -> bool:
    try:
        pictures.decode(data)
    except Error:
        return False
    return True


@pytest.mark.parametrize("name", WHOLE)
def test_damage_is_an_error_or_a_picture_and_nothing_else(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(WHOLE[name])
        for at in rng.integers(0, min(len(data), 400) if rng.random() < 0.5 else len(data), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        if _is_accepted(bytes(data)):
            assert np.isfinite(pictures.decode(bytes(data)).rgb).all()


def test_truncated_is_said_to_be_truncated() -> None:
    for name, data in WHOLE.items():
        refused_bytes(data[: len(data) // 2], "truncated", headers.inspect(data).format, name=name)


def test_a_webp_chunk_longer_than_its_file() -> None:
    data = bytearray(WHOLE["webp"])
    refused_bytes(bytes(data[:-2]), f"it declares {len(data)} bytes and has {len(data) - 2}")
    struct.pack_into("<I", data, 16, len(data))
    refused_bytes(bytes(data), "chunk VP8  ends early")


def test_a_damaged_png_chunk_is_found_by_its_checksum() -> None:
    data = bytearray(WHOLE["png"])
    data[data.index(b"IDAT") + 20] ^= 1
    refused_bytes(bytes(data), "checksum of chunk IDAT")


def test_a_thumbnail_does_not_hide_a_cut_jpeg() -> None:
    """The end marker of a preview inside of an APP segment is not the picture's."""
    segment = WHOLE["jpeg"]
    data = WHOLE["jpeg"][:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + WHOLE["jpeg"][2:]
    assert pictures.decode(data).rgb.shape == (40, 60, 3)
    refused_bytes(data[:-200], "truncated")


def test_bytes_after_the_end_do_no_harm() -> None:
    for name in ("jpeg", "png", "webp", "bmp"):
        pictures.decode(WHOLE[name] + bytes(1000))


def png_of_size(height: int, width: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_sizes() -> None:
    for shape, got in (((1, 1), "1x1"), ((2, 30000), "30000x2"), ((15, 400), "400x15")):
        refused(np.zeros(shape, np.uint8), got, "sides of at least 16")
        refused_bytes(pillow(np.zeros(shape, np.uint8), "PNG"), got, "sides of at least 16")
    refused_bytes(png_of_size(100_000, 100_000), "100000x100000", "268,435,456 pixels")
    refused_bytes(png_of_size(2**31 - 1, 2**31 - 1), "2147483647x2147483647")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(value: float) -> None:
    array = (RGB / 255).astype(np.float32)
    array[3, 4, 1] = value
    refused(array, "NaN or infinite")
    refused_bytes(tif(array, photometric="rgb"), "NaN or infinite", "[0, 1]")


def test_floats_of_another_scale() -> None:
    refused(RGB.astype(np.float32), "values from 0 to 236", "[0, 1]")
    refused_bytes(tif(RGB.astype(np.float32) - 1, photometric="rgb"), "values from -1 to 235", "[0, 1]")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tif(RGB.astype(np.int16), photometric="rgb"), ["16-bit signed", "8-bit unsigned, 16-bit unsigned"]),
        (tif(RGB.astype(np.uint32), photometric="rgb"), ["32-bit unsigned"]),
        (tif(RGB.astype(np.float16), photometric="rgb"), ["16-bit float"]),
        (tif(RGBA[..., 2:], photometric="minisblack", extrasamples=["unassalpha"]), ["2 samples", "grey, RGB or RGBA"]),
        (tif(np.dstack([RGBA, RGB[..., 0]]), photometric="rgb", extrasamples=[2, 0]), ["5 samples", "RGBA"]),
        (tif(wide(RGBA), photometric="separated"), ["16-bit", "neither grey nor RGB"]),
    ],
)
def test_layouts_of_tiff_that_would_be_read_wrongly(data: bytes, words: list[str]) -> None:
    refused_bytes(data, *words)


def test_arrays_that_are_no_pictures() -> None:
    refused(np.zeros((20, 20, 2), np.uint8), "(20, 20, 2)", "(H, W, 3)")
    refused(np.zeros((1, 3, 20, 20), np.float32), "(1, 3, 20, 20)")
    refused(np.zeros(20, np.uint8), "(20,)")
    refused(np.zeros((20, 20), np.int64), "int64", "uint8, uint16, or float")
    refused(np.zeros((20, 20), bool), "bool")
    with pytest.raises(Error, match=r"path or a NumPy array, got list"):
        pictures.read([[0.5]])  # type: ignore[arg-type]


def test_a_broken_exif_block_is_ignored_and_a_strange_orientation_too() -> None:
    assert headers.exif_orientation(b"Exif\0\0garbage") == 1
    block = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, tiff.ORIENTATION, 3, 1, 9, 0, 0)
    assert headers.exif_orientation(block) == 1
    assert headers.exif_orientation(block.replace(b"\x09\0", b"\x06\0")) == 6


GOOD = RGB / 255


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("out.gif", {}, ["'.gif'", "accepted: .png, .jpg"]),
        ("out.png", {"rgb": RGB}, ["(H, W, 3) floats", "uint8"]),
        ("out.png", {"rgb": GOOD[..., 0]}, ["(H, W, 3) floats", "(40, 60)"]),
        ("out.png", {"rgb": GOOD * np.nan}, ["NaN"]),
        ("out.png", {"alpha": np.full((40, 60), np.inf)}, ["NaN or infinite"]),
        ("out.png", {"alpha": np.zeros((4, 6))}, ["alpha must be (40, 60)", "(4, 6)"]),
        ("out.png", {"depth": 12}, ["8 or 16, got 12"]),
        ("out.webp", {"rgb": np.zeros((16, 20000, 3))}, ["20000x16", ".webp"]),
        ("out.jpg", {"rgb": np.zeros((16, 70000, 3))}, ["70000x16", ".jpg"]),
        ("none/out.png", {}, ["none/out.png", "No such file or directory"]),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, arguments: dict[str, Any], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Error) as raised:
        pictures.write(tmp_path / name, **{"rgb": GOOD, **arguments})
    one_line(raised, *words)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
