"""Frames of a zoom: PNG files as they are made, and a film of them afterwards."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from . import pictures
from .errors import Error
from .files import atomic, check_output
from .session import Array

FILMS = (".mp4", ".gif")
Frame = Path | NDArray[np.uint8]


class Frames:
    """Takes frames (H,W,3) one after the other: as `<stem>-frame0001.png` beside `output`, or in memory without one."""

    def __init__(self, output: str | Path | None) -> None:
        self._output = None if output is None else Path(output)
        self.made: list[Frame] = []

    def add(self, rgb: Array) -> None:
        """Keep one more frame, RGB in [0,1]."""
        if self._output is None:
            self.made.append(pictures.to_uint8(rgb))
            return
        path = self._output.with_name(f"{self._output.stem}-frame{len(self.made) + 1:04d}.png")
        pictures.write(path, rgb)
        self.made.append(path)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in self.made:
            yield pictures.to_uint8(pictures.read(frame).rgb) if isinstance(frame, Path) else frame


def check_film(path: str | Path) -> None:
    """Raises Error, before anything is computed, for a film that cannot be written."""
    check_output(path, FILMS)


def write_film(path: str | Path, frames: Iterable[NDArray[np.uint8]], per_second: float) -> None:
    """A film of frames (H,W,3) RGB of one size, by the suffix: .mp4 (MPEG-4, sides made even) or .gif, endless.

    Whole or not at all. Raises Error for another suffix, and where OpenCV cannot encode it.
    """
    path = Path(path)
    check_film(path)
    encode = _gif if path.suffix.lower() == ".gif" else _mp4
    hidden = path.with_name(f".{path.stem[:40]}.part{path.suffix.lower()}")
    try:
        if not encode(hidden, frames, per_second):
            raise Error(f"{path} cannot be encoded by OpenCV {cv2.__version__}; accepted: {', '.join(FILMS)}")
        with atomic(path) as file:
            file.write(hidden.read_bytes())
    finally:
        hidden.unlink(missing_ok=True)


def _gif(path: Path, frames: Iterable[NDArray[np.uint8]], per_second: float) -> bool:
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    animation.durations = [round(1000 / per_second)] * len(animation.frames)
    return bool(cv2.imwriteanimation(str(path), animation))


def _mp4(path: Path, frames: Iterable[NDArray[np.uint8]], per_second: float) -> bool:
    writer = None
    for frame in frames:
        height, width = (side - side % 2 for side in frame.shape[:2])
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), per_second, (width, height))
        writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
    opened = writer is not None and writer.isOpened()
    if writer is not None:
        writer.release()
    return opened and path.is_file() and path.stat().st_size > 0
