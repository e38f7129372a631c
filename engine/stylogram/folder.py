"""A folder of pictures, streamed: a thread reads and scales the next batch while the present one is computed on."""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from . import headers, pictures
from .errors import Error
from .files import reason
from .session import Array

AHEAD = 2  # batches that wait, at most: what bounds the memory
Made = TypeVar("Made")


@dataclass(frozen=True)
class Folder:
    """The pictures below `root`: `names` are their paths from there, with slashes, sorted."""

    root: Path
    names: tuple[str, ...]

    @classmethod
    def scan(cls, root: str | Path) -> "Folder":
        """Every file below `root` with a picture's suffix; hidden ones, and links to folders, are left out.

        Raises Error for what is no folder or cannot be read, and for a folder without a picture.
        """
        top = Path(root)
        if not top.is_dir():
            there = "is a file" if top.exists() else "is not there"
            raise Error(f"pictures: {top} {there}; a folder of pictures is accepted")
        try:
            names = sorted(_below(top))
        except OSError as problem:
            raise Error(f"pictures: {top} cannot be read: {reason(problem)}; a readable folder is accepted") from None
        if not names:
            raise Error(f"pictures: no picture in {top}; files that end in {', '.join(pictures.WRITERS)} are accepted")
        return cls(top, tuple(names))

    def fingerprint(self) -> str:
        """Changes with any name, size or time of change in the folder: a run goes on only in the same folder."""
        digest = hashlib.sha256()
        for name in self.names:
            try:
                found = (self.root / name).stat()
                digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
            except OSError:  # a dangling link: a broken picture like others
                digest.update(f"{name}\0\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def squares(self, number: int, sizes: Iterable[int]) -> dict[int, Array]:
        """Picture `number` as (3,s,s) for each s: the middle square of it, scaled. Raises Error for a broken one."""
        made = {size: np.empty((3, size, size), np.float32) for size in sizes}
        self.fill(number, made)
        return made

    def fill(self, number: int, squares: Mapping[int, Array]) -> None:
        """The same into arrays `squares[s]` (3,s,s); those of a broken picture stay as they are."""
        path = self.root / self.names[number]
        data = pictures.contents(path)
        small = _small(data, max(squares))
        whole: NDArray[Any] = pictures.decode(data, os.fspath(path)).rgb if small is None else small
        side = min(whole.shape[:2])
        top, left = (whole.shape[0] - side) // 2, (whole.shape[1] - side) // 2
        middle = whole[top : top + side, left : left + side]
        for square in squares.values():
            _scale(middle, square)


# How many times smaller libjpeg decodes a picture, at a fraction of the work. What is left to scale is a half or less,
# so that hardly anything of its filter is seen; the middle is found to a decoded pixel.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2, 1: cv2.IMREAD_COLOR
}  # fmt: skip


def _small(data: bytes, size: int) -> NDArray[np.uint8] | None:
    """A JPEG's bytes as (H,W,3) uint8 BGR, decoded at the least size of which both sides are twice `size`.

    None for what pictures.read has to see to: other formats, turned pictures, sizes out of bounds, anything broken.
    """
    try:
        header = headers.inspect(data)
    except Error:
        return None
    least = min(header.height, header.width)
    if header.format != "JPEG" or header.orientation != 1 or least < pictures.MIN_SIDE:
        return None
    if header.height * header.width > pictures.MAX_PIXELS:
        return None
    times = next((times for times in _REDUCED if least >= 2 * times * size), 1)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[times] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if bgr is None else np.asarray(bgr, np.uint8)


def _scale(middle: NDArray[Any], square: Array) -> None:
    """Floats (s,s,3) RGB in [0,1], or bytes BGR, into (3,size,size) RGB in [0,1]."""
    size = square.shape[1]
    if middle.dtype != np.uint8:
        square[:] = pictures.to_batch(pictures.resized(middle, (size, size)))[0]
        return
    for plane, colour in zip(reversed(cv2.split(_resized(middle, size))), square, strict=True):
        np.multiply(plane, np.float32(1 / 255), out=colour, dtype=np.float32)


def _resized(middle: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bytes (s,s,3) at another size.

    What shrinks to no less than a quarter is drawn bilinearly at twice the size, and 2x2 of that are averaged: hardly
    another picture than an average over areas, in half the time.
    """
    side = middle.shape[0]
    if side == size:
        return middle
    if side < size:
        return np.asarray(cv2.resize(middle, (size, size), interpolation=cv2.INTER_LANCZOS4), np.uint8)
    if side < 4 * size:
        middle = np.asarray(cv2.resize(middle, (2 * size, 2 * size), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _below(top: Path) -> Iterator[str]:
    def refused(problem: OSError) -> None:
        raise problem

    for where, folders, files in os.walk(top, onerror=refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in pictures.WRITERS:
                yield (Path(where) / name).relative_to(top).as_posix()


@dataclass
class Batch:
    """Pictures `first`, `first` + 1, ...: `squares[s]` (N,3,s,s) in [0,1]; zeros for those in `broken`, {number: why}.

    `count` of the N are pictures: the folder's last batch is filled up with zeros.
    """

    first: int
    count: int
    squares: dict[int, Array]
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def whole(self) -> list[int]:
        """The places in the batch that hold a picture."""
        return [place for place in range(self.count) if self.first + place not in self.broken]


def batches(folder: Folder, sizes: Sequence[int], length: int, first: int = 0) -> Iterator[Batch]:
    """The folder's pictures from `first` on, `length` at a time, in order."""
    starts = range(first, len(folder.names), length)
    return ahead(partial(read_batch, folder, tuple(dict.fromkeys(sizes)), length, start) for start in starts)


def read_batch(folder: Folder, sizes: tuple[int, ...], length: int, first: int) -> Batch:
    """The pictures from `first` on, at most `length`; broken ones are listed."""
    count = min(length, len(folder.names) - first)
    batch = Batch(first, count, {size: np.zeros((length, 3, size, size), np.float32) for size in sizes})
    for place in range(count):
        try:
            folder.fill(first + place, {size: squares[place] for size, squares in batch.squares.items()})
        except Error as problem:
            batch.broken[first + place] = str(problem)
    return batch


class _OneThread:
    """OpenCV on one thread while any reader runs: its own, for pictures this small, take processors from what computes.

    The number is the process's: it is what it was before when the last reader has ended.
    """

    def __init__(self) -> None:
        self._lock, self._readers, self._before = threading.Lock(), 0, 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                cv2.setNumThreads(self._before)


_one_thread = _OneThread()


def ahead(jobs: Iterable[Callable[[], Made]], depth: int = AHEAD, workers: int = 1) -> Iterator[Made]:
    """What the jobs return, in their order; other threads are up to `depth` of them ahead."""
    waiting: deque[Future[Made]] = deque()
    with _one_thread, ThreadPoolExecutor(workers, "stylogram-reader") as reader:
        try:
            for job in jobs:
                waiting.append(reader.submit(job))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
