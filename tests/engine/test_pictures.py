"""Pictures in and out, against Pillow, tifffile and NumPy as independent readers and writers."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from picture_files import ALPHA, GREY, RGB, RGBA, Image, pillow, tif, tifffile, wide
from stylogram import files, pictures, tiff
from stylogram.errors import Error

Array = npt.NDArray[Any]
# Lossy formats: a smooth gradient survives quality 95 within this many of 255 steps.
LOSSY = 8


def steps(values: Array | None) -> Array:
    assert values is not None
    return np.rint(values.astype(np.float64) * 255)


EXTRA = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
# name: (file, RGB in steps of 255 that it holds, alpha or None, depth, tolerance in steps)
FILES: dict[str, tuple[Callable[[], bytes], Array, Array | None, int, int]] = {
    "jpeg": (lambda: pillow(RGB, "JPEG", quality=95, subsampling=0), RGB, None, 8, LOSSY),
    "jpeg progressive": (lambda: pillow(RGB, "JPEG", quality=95, progressive=True, subsampling=0), RGB, None, 8, LOSSY),
    "jpeg grey": (lambda: pillow(GREY, "JPEG", quality=95), GREY, None, 8, LOSSY),
    "jpeg cmyk": (lambda: pillow(RGB, "JPEG", "CMYK", quality=95), RGB, None, 8, LOSSY),
    "png": (lambda: pillow(RGB, "PNG"), RGB, None, 8, 0),
    "png 16": (lambda: cv2.imencode(".png", wide(RGB)[..., ::-1])[1].tobytes(), RGB, None, 16, 0),
    "png grey": (lambda: pillow(GREY, "PNG"), GREY, None, 8, 0),
    "png grey 16": (lambda: pillow(wide(GREY), "PNG"), GREY, None, 16, 0),
    "png grey alpha": (lambda: pillow(np.dstack([GREY, ALPHA]), "PNG"), GREY, ALPHA, 8, 0),
    "png rgba": (lambda: pillow(RGBA, "PNG"), RGB, ALPHA, 8, 0),
    "png one bit": (lambda: pillow(GREY > 99, "PNG"), (GREY > 99) * 255, None, 8, 0),
    "webp": (lambda: pillow(RGB, "WEBP", lossless=True), RGB, None, 8, 0),
    "webp lossy": (lambda: pillow(RGB, "WEBP", quality=95), RGB, None, 8, LOSSY),
    "webp rgba": (lambda: pillow(RGBA, "WEBP", lossless=True), RGB, ALPHA, 8, 0),
    "bmp": (lambda: pillow(RGB, "BMP"), RGB, None, 8, 0),
    "bmp grey": (lambda: pillow(GREY, "BMP"), GREY, None, 8, 0),
    "tiff": (lambda: tif(RGB, photometric="rgb"), RGB, None, 8, 0),
    "tiff deflate": (lambda: tif(RGB, photometric="rgb", compression="zlib"), RGB, None, 8, 0),
    "tiff tiles": (lambda: tif(RGB, photometric="rgb", tile=(32, 32)), RGB, None, 8, 0),
    "tiff planes": (lambda: tif(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig=2), RGB, None, 8, 0),
    "tiff big": (lambda: tif(RGB, photometric="rgb", bigtiff=True), RGB, None, 8, 0),
    "tiff motorola": (lambda: tif(wide(RGB).astype(">u2"), photometric="rgb", byteorder=">"), RGB, None, 16, 0),
    "tiff grey": (lambda: tif(GREY), GREY, None, 8, 0),
    "tiff one bit": (lambda: pillow(GREY > 99, "TIFF"), (GREY > 99) * 255, None, 8, 0),
    "tiff white is zero": (lambda: tif(255 - GREY, photometric="miniswhite"), GREY, None, 8, 0),
    "tiff white is zero 16": (lambda: tif(wide(255 - GREY), photometric="miniswhite"), GREY, None, 16, 0),
    "tiff 16": (lambda: tif(wide(RGB), photometric="rgb"), RGB, None, 16, 0),
    "tiff float": (lambda: tif((RGB / 255).astype(np.float32), photometric="rgb"), RGB, None, 16, 0),
    "tiff double grey": (lambda: tif(GREY / 255), GREY, None, 16, 0),
    "tiff cmyk": (lambda: pillow(RGB, "TIFF", "CMYK"), RGB, None, 8, 0),
    "tiff rgba": (lambda: tif(RGBA, **EXTRA), RGB, ALPHA, 8, 0),
    "tiff rgba big": (lambda: tif(RGBA, bigtiff=True, **EXTRA), RGB, ALPHA, 8, 0),
    "tiff rgba motorola": (lambda: tif(RGBA, byteorder=">", **EXTRA), RGB, ALPHA, 8, 0),
    "tiff rgba 16": (lambda: tif(wide(RGBA), **EXTRA), RGB, ALPHA, 16, 0),
    "tiff rgba float": (lambda: tif((RGBA / 255).astype(np.float32), **EXTRA), RGB, ALPHA, 16, 0),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, rgb, alpha, depth, tolerance = FILES[name]
    picture = pictures.decode(make(), name)
    assert picture.rgb.dtype == np.float32
    assert picture.rgb.flags.c_contiguous
    assert picture.depth == depth
    want = rgb if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, axis=2)
    np.testing.assert_allclose(steps(picture.rgb), want, atol=tolerance)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        assert steps(picture.alpha).tolist() == alpha.tolist()
    assert capfd.readouterr().err == ""  # OpenCV's warnings are not the user's business


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_palettes(kind: str) -> None:
    palette = Image.fromarray(RGB).quantize(64)
    buffer = io.BytesIO()
    palette.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert steps(pictures.decode(buffer.getvalue()).rgb).tolist() == np.asarray(palette.convert("RGB")).tolist()


def test_palette_with_a_transparent_colour() -> None:
    palette = Image.fromarray(RGB).quantize(64)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=3)
    alpha = pictures.decode(buffer.getvalue()).alpha
    assert steps(alpha).tolist() == np.where(np.asarray(palette) == 3, 0, 255).tolist()


def test_associated_alpha_of_tiff_is_divided_out() -> None:
    """Stored colours are multiplied by alpha and rounded: half a step over the least alpha, 40/255, is 3.2 steps."""
    for make, scale in ((np.uint8, 255), (np.uint16, 65535)):
        values = RGBA / 255
        values[..., :3] *= values[..., 3:]
        data = tif(np.rint(values * scale).astype(make), photometric="rgb", extrasamples=["assocalpha"])
        picture = pictures.decode(data)
        np.testing.assert_allclose(steps(picture.rgb), RGB, atol=4 if scale == 255 else 0)
        assert steps(picture.alpha).tolist() == ALPHA.tolist()


TURNS: list[Callable[[Array], Array]] = [
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
    lambda a: np.rot90(a[:, ::-1]),
    lambda a: np.rot90(a, -1),
    lambda a: np.rot90(a[::-1]),
    lambda a: np.rot90(a),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF 16", "TIFF float", "PNG Exif prefix"])
def test_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[tiff.ORIENTATION] = orientation
    source = RGB if kind == "JPEG" else RGBA
    tags = {"extratags": [(tiff.ORIENTATION, "H", 1, orientation, True)]}
    make: dict[str, Callable[[], bytes]] = {
        "JPEG": lambda: pillow(RGB, "JPEG", quality=95, subsampling=0, exif=exif),
        "PNG": lambda: pillow(RGBA, "PNG", exif=exif),
        "PNG Exif prefix": lambda: pillow(RGBA, "PNG", exif=b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")),
        "WEBP": lambda: pillow(RGBA, "WEBP", lossless=True, exif=exif),
        "TIFF": lambda: tif(RGBA, **EXTRA, **tags),
        "TIFF 16": lambda: tif(wide(RGBA), **EXTRA, **tags),
        "TIFF float": lambda: tif((RGBA / 255).astype(np.float32), **EXTRA, **tags),
    }
    picture = pictures.decode(make[kind]())
    want = TURNS[orientation - 1](source)
    np.testing.assert_allclose(steps(picture.rgb), want[..., :3], atol=LOSSY if kind == "JPEG" else 0)
    if source.shape[2] == 4:
        assert steps(picture.alpha).tolist() == want[..., 3].tolist()


def test_orientation_agrees_with_pillow() -> None:
    """The table of turns above is ours; Pillow's own transposition says the same."""
    from PIL import ImageOps

    for orientation, turn in enumerate(TURNS, 1):
        exif = Image.Exif()
        exif[tiff.ORIENTATION] = orientation
        image = Image.open(io.BytesIO(pillow(RGB, "PNG", exif=exif)))
        assert np.asarray(ImageOps.exif_transpose(image)).tolist() == turn(RGB).tolist()


ARRAYS: dict[str, tuple[Array, int]] = {
    "uint8": (RGB, 8),
    "uint16": (wide(RGB), 16),
    "float32": ((RGB / 255).astype(np.float32), 16),
    "float64": (RGB / 255, 16),
    "reversed": (RGB[::-1], 8),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_read(name: str) -> None:
    array, depth = ARRAYS[name]
    picture = pictures.read(array)
    assert (picture.alpha, picture.depth) == (None, depth)
    want = RGB[::-1] if name == "reversed" else RGB
    assert steps(picture.rgb).tolist() == want.tolist()


def test_array_shapes() -> None:
    for grey in (GREY, GREY[..., None]):
        assert steps(pictures.read(grey).rgb).tolist() == np.repeat(GREY[..., None], 3, axis=2).tolist()
    picture = pictures.read(RGBA)
    assert steps(picture.alpha).tolist() == ALPHA.tolist()


def test_an_array_is_copied() -> None:
    array = np.full((20, 20, 3), 0.5, np.float32)
    pictures.read(array).rgb[:] = 0
    assert array.min() == 0.5


def test_floats_that_ring_are_clipped() -> None:
    array = np.full((20, 20), 0.5)
    array[0, :2] = -0.05, 1.05
    assert pictures.read(array).rgb[0, :2, 0].tolist() == [0, 1]


# suffix: tolerance in steps
WRITTEN = {".png": 0, ".tif": 0, ".TIFF": 0, ".bmp": 0, ".jpg": LOSSY, ".jpeg": LOSSY, ".webp": LOSSY}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_written_is_read_by_others_and_by_us(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    pictures.write(path, RGB / 255, alpha=ALPHA / 255)
    writer = pictures.WRITERS[suffix.lower()]
    other = np.asarray(Image.open(path).convert("RGBA")).astype(int)
    np.testing.assert_allclose(other[..., :3], RGB, atol=WRITTEN[suffix])
    assert other[..., 3].tolist() == (ALPHA if writer.alpha else np.full_like(ALPHA, 255)).tolist()
    ours = pictures.read(path)
    np.testing.assert_allclose(steps(ours.rgb), RGB, atol=WRITTEN[suffix])
    assert (ours.alpha is not None) == writer.alpha
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_to_the_last_step(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    floats = (values / 65535).astype(np.float32)
    pictures.write(tmp_path / f"out{suffix}", floats[..., :3], floats[..., 3], depth=16)
    picture = pictures.read(tmp_path / f"out{suffix}")
    assert picture.alpha is not None
    assert picture.depth == 16
    again = np.rint(np.dstack([picture.rgb, picture.alpha]).astype(np.float64) * 65535)
    assert again.tolist() == values.tolist()


def test_eight_bits_where_the_format_has_no_more(tmp_path: Path) -> None:
    for suffix in (".jpg", ".webp", ".bmp"):
        pictures.write(tmp_path / f"out{suffix}", RGB / 255, depth=16)
        assert pictures.read(tmp_path / f"out{suffix}").depth == 8


def test_tiff_says_that_its_fourth_sample_is_unassociated_alpha(tmp_path: Path) -> None:
    for depth in (8, 16):
        pictures.write(tmp_path / "out.tif", RGB / 255, ALPHA / 255, depth=depth)
        with tifffile.TiffFile(tmp_path / "out.tif") as file:
            assert [int(extra) for extra in file.pages[0].extrasamples] == [tiff.UNASSOCIATED]
            assert len(file.pages) == 1
            tags = [tag.code for tag in file.pages[0].tags]
        assert tags == sorted(tags)


def test_jpeg_keeps_the_full_resolution_of_colour(tmp_path: Path) -> None:
    pictures.write(tmp_path / "out.jpg", RGB / 255)
    with Image.open(tmp_path / "out.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_writing_rounds_to_the_nearest_and_clips(tmp_path: Path) -> None:
    rgb = np.zeros((16, 16, 3))
    rgb[0, :5, 0] = np.array([-1, 0.49, 0.51, 254.5, 300]) / 255
    pictures.write(tmp_path / "out.png", rgb)
    assert np.asarray(Image.open(tmp_path / "out.png"))[0, :5, 0].tolist() == [0, 0, 1, 255, 255]


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for suffix in pictures.WRITERS:
        for name in "ab":
            pictures.write(tmp_path / f"{name}{suffix}", RGB / 255)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_many_threads_read_and_opencv_keeps_its_voice() -> None:
    level = cv2.utils.logging.getLogLevel()
    data, results = tif(RGBA, **EXTRA), []
    threads = [
        threading.Thread(target=lambda: results.extend(pictures.decode(data).depth for _ in range(50)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [8] * 200
    assert cv2.utils.logging.getLogLevel() == level


def test_writers_are_what_check_output_accepts(tmp_path: Path) -> None:
    for suffix in pictures.WRITERS:
        files.check_output(tmp_path / f"out{suffix.upper()}", pictures.WRITERS)
    with pytest.raises(Error, match=r"'\.gif'; accepted: \.png"):
        files.check_output(tmp_path / "out.gif", pictures.WRITERS)
