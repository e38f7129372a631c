"""Uploaded pictures on the disk, each under the SHA-256 of its bytes: no name of a client becomes a path.

The header is read before anything is decoded, so that a small file that claims to be huge is refused at once.
"""

import hashlib
import os
from pathlib import Path

from .. import headers, pictures
from ..errors import Error
from ..files import atomic


class TooLargeError(Error):
    """A picture of more pixels than are accepted."""


class NoPictureError(Error):
    """Bytes that are no picture, or a damaged one."""


def inspected(data: bytes, field: str, most: int) -> tuple[int, int]:
    """(height, width) as it is seen, of a whole picture with at most `most` pixels."""
    if not data:
        raise NoPictureError(f"{field} is empty (0 bytes); accepted: {headers.accepted()}")
    try:
        header = headers.inspect(data)
    except Error as problem:
        raise NoPictureError(f"{field} {problem}") from None
    height, width = header.height, header.width
    if height * width > most:
        raise TooLargeError(f"{field} has {width}x{height} pixels; accepted: up to {most:,} pixels in all")
    if min(height, width) < pictures.MIN_SIDE:
        raise NoPictureError(f"{field} has {width}x{height} pixels; accepted: sides of at least {pictures.MIN_SIDE}")
    return (width, height) if header.orientation >= 5 else (height, width)


class Uploads:
    """The directory of uploads."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory

    def put(self, data: bytes) -> str:
        """Keep the bytes; gives their name."""
        name = hashlib.sha256(data).hexdigest()
        path = self.path(name)
        if not path.exists():
            with atomic(path) as file:
                file.write(data)
        return name

    def path(self, name: str) -> Path:
        """Where an upload is."""
        return self.directory / name

    def sweep(self, needed: set[str]) -> None:
        """Remove what no job needs, and what a crash has left half written."""
        for entry in os.scandir(self.directory):
            if entry.name not in needed:
                Path(entry.path).unlink(missing_ok=True)
