"""A folder of pictures: read ahead, the middle square of each, JPEG files at a fraction of their size."""

import threading
import time
from functools import partial

import cv2
import numpy as np
import pytest
from stylogram import pictures
from stylogram.folder import Folder, ahead, batches
from stylogram.maxima import side_by_side

from engine import nets


def test_reading_ahead_is_bounded_and_stops_with_its_reader():
    started, gate = [], threading.Semaphore(0)

    def job(number):
        started.append(number)
        gate.release()
        return number

    found = ahead((lambda n=n: job(n) for n in range(100)), depth=2)
    assert next(found) == 0
    for _ in range(3):
        assert gate.acquire(timeout=10)
    assert started == [0, 1, 2]
    found.close()
    assert threading.active_count() == 1 or not any("reader" in one.name for one in threading.enumerate())


def test_squares_are_the_middle_of_the_picture(tmp_path):
    rgb = np.zeros((20, 60, 3), "f4")
    rgb[:, 20:40] = 1
    pictures.write(tmp_path / "wide.png", rgb)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "deeper").mkdir()
    pictures.write(tmp_path / "deeper" / "tall.PNG".lower(), rgb.transpose(1, 0, 2))
    folder = Folder.scan(tmp_path)
    assert folder.names == ("deeper/tall.png", "wide.png")
    (batch,) = batches(folder, [16, 24], 4)
    assert batch.squares[16].shape == (4, 3, 16, 16)
    assert batch.squares[24][:2].min() > 0.999
    assert not batch.squares[24][2:].any()


@pytest.mark.parametrize("side", [32, 48, 60, 131, 200, 400])
def test_jpeg_files_are_read_as_others_are(tmp_path, side):
    """Bytes, decoded smaller where they are large, and scaled by another filter: hardly any difference."""
    smooth = pictures.resized(nets.blocks(6, 8, 5, 1), (side, side))
    pictures.write(tmp_path / "a.jpg", smooth)
    found = Folder.scan(tmp_path).squares(0, [48, 32])
    read = pictures.read(tmp_path / "a.jpg").rgb
    for size, square in found.items():
        expected = pictures.to_batch(pictures.resized(read, (size, size)))[0]
        assert square.dtype == np.float32
        assert square.flags.c_contiguous
        bound = 1 / 255 if side <= size else 0.03  # what is not shrunk has the same filter, in bytes
        assert np.abs(square - expected).max() <= bound * 1.01


@pytest.mark.parametrize("side", [33, 47, 75, 127])
def test_what_shrinks_is_the_mean_of_four_bilinear_samples(tmp_path, side):
    """A JPEG file of noise, against the formula in float64; bytes are rounded twice."""
    size = 32
    pictures.write(tmp_path / "a.jpg", np.random.default_rng(side).random((side, side, 3), np.float32))
    read = pictures.read(tmp_path / "a.jpg").rgb.astype(np.float64)
    at = np.clip((np.arange(2 * size) + 0.5) * side / (2 * size) - 0.5, 0, side - 1)
    hat = np.maximum(1 - np.abs(at[:, None] - np.arange(side)), 0)
    mean = (hat[::2] + hat[1::2]) / 2
    expected = np.einsum("ih,jw,hwc->cij", mean, mean, read)
    assert np.abs(Folder.scan(tmp_path).squares(0, [size])[size] - expected).max() <= 1.5 / 255


def test_a_turned_jpeg_file_is_turned(tmp_path):
    rgb = np.zeros((64, 64, 3), "f4")
    rgb[:32] = 1
    pictures.write(tmp_path / "a.jpg", rgb)
    plain = (tmp_path / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"  # orientation 3: upside down
    (tmp_path / "b.jpg").write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    folder = Folder.scan(tmp_path)
    upright, turned = (folder.squares(number, [32])[32] for number in (0, 1))
    assert upright[:, 2].min() > 0.9
    np.testing.assert_allclose(turned, upright[:, ::-1, ::-1], atol=0.02)


@pytest.mark.parametrize("workers", [1, 3])
def test_several_workers_keep_the_order(workers):
    """Jobs that end in another order than they began; as many run at the same time as there are workers."""
    running, most, lock = set(), [0], threading.Lock()

    def job(number):
        with lock:
            running.add(number)
            most[0] = max(most[0], len(running))
        time.sleep(0.02 if number % 3 == 0 else 0.002)
        with lock:
            running.discard(number)
        return number

    assert list(ahead((partial(job, number) for number in range(12)), 3, workers)) == list(range(12))
    assert most[0] <= workers
    assert workers == 1 or most[0] > 1


@pytest.mark.parametrize(
    ("threads", "way"), [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (5, (1, 5)), (6, (3, 2)), (16, (4, 4))]
)
def test_batches_side_by_side_use_all_threads(threads, way):
    assert side_by_side(threads) == way


def test_opencv_has_its_threads_back_when_the_last_reader_has_ended():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        first, second = ahead(iter([int, int])), ahead(iter([int, int, int, int]))
        next(first), next(second)
        assert cv2.getNumThreads() == 1
        first.close()
        assert cv2.getNumThreads() == 1
        assert list(second) == [0, 0, 0]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
