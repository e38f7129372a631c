"""Sheets: pictures in rows and columns on white, with words below them, beside the rows and above it all."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .errors import Error
from .session import Array

SIZE = 14  # of the letters in pixels, where the pictures are wide enough
LEAST = 10  # what is smaller cannot be read; a longer label widens the column
_FONT = cv2.FontFace("sans")


def sheet(
    pictures: Sequence[Array],
    columns: int,
    labels: Sequence[str] = (),
    gap: int = 4,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Array:
    """The pictures row by row, `columns` in a row, each in the middle of a cell as large as the largest of them.

    Args:
        pictures: (H,W,3) RGB in [0,1] each, of any sizes.
        columns: how many in a row; the last row may have fewer.
        labels: the words below each picture, or none at all.
        gap: white pixels between the cells and around them.
        row_labels: the words left of each row, or none; `column_labels` those above each column, `title` above all.

    Returns:
        The sheet (H,W,3), float32, RGB in [0,1].

    Raises:
        Error: no picture, a picture of another shape, no column, a negative gap, or more or fewer words than places.
    """
    pictures = _checked(pictures, columns, gap)
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    for what, words, count in (
        ("labels", labels, len(pictures)),
        ("row labels", row_labels, rows),
        ("column labels", column_labels, columns),
    ):
        if words and len(words) != count:
            raise Error(f"sheet: {count} {what} are needed, got {len(words)}")
    layout = _layout(pictures, gap, [*labels, *column_labels])
    cells = [_cell(picture, layout) for picture in pictures]
    if labels:
        size = _size(labels, layout.width)
        cells = [np.vstack([cell, _line(word, layout.width, size)]) for cell, word in zip(cells, labels, strict=True)]
    blank = np.ones_like(cells[0])
    cells += [blank] * (rows * columns - len(cells))
    grid = np.vstack([np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)])
    return _framed(grid, layout, row_labels, column_labels, title)


@dataclass(frozen=True)
class _Layout:
    """Of a cell: the pictures' height, the width with room for the words, and half of what lies between cells."""

    height: int
    width: int
    gap: int


def _checked(pictures: Sequence[Array], columns: int, gap: int) -> list[Array]:
    if not len(pictures):
        raise Error("sheet: at least one picture is needed, got none")
    if columns < 1 or gap < 0:
        raise Error(f"sheet: columns of at least 1 and a gap of at least 0 are accepted, got {columns} and {gap}")
    for number, picture in enumerate(pictures, 1):
        if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise Error(f"sheet: picture {number} must be (H,W,3), got {picture.shape}")
    return [np.clip(np.asarray(picture, np.float32), 0, 1) for picture in pictures]


def _layout(pictures: Sequence[Array], gap: int, words: Sequence[str]) -> _Layout:
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    return _Layout(height, max([width, *(_extent(word, LEAST) for word in words)]) + gap, gap)


def _cell(picture: Array, layout: _Layout) -> Array:
    """The picture in the middle of white."""
    cell = np.ones((layout.height + layout.gap, layout.width, 3), np.float32)
    top, left = (cell.shape[0] - picture.shape[0]) // 2, (layout.width - picture.shape[1]) // 2
    cell[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return cell


def _framed(grid: Array, layout: _Layout, row_labels: Sequence[str], column_labels: Sequence[str], title: str) -> Array:
    """The grid with its outer gap and the words around it."""
    if column_labels:
        size = _size(column_labels, layout.width)
        head = np.hstack([_line(word, layout.width, size) for word in column_labels])
        grid = np.vstack([head, grid])
    if row_labels:
        side = _side(row_labels, grid.shape[0], _height(SIZE) if column_labels else 0)
        grid = np.hstack([side, grid])
    if title:
        width = max(grid.shape[1], _extent(title, SIZE) + 2)
        grid = np.pad(grid, ((0, 0), (0, width - grid.shape[1]), (0, 0)), constant_values=1)
        grid = np.vstack([_line(title, width, SIZE), grid])
    edge = (layout.gap - layout.gap // 2, layout.gap // 2)
    return np.pad(grid, (edge, edge, (0, 0)), constant_values=1)


def _side(words: Sequence[str], height: int, top: int) -> Array:
    """The words left of the rows, each at the middle of its row, below `top` pixels of heading."""
    side = np.ones((height, max(_extent(word, SIZE) for word in words) + SIZE, 3), np.float32)
    row = (height - top) // len(words)
    for number, word in enumerate(words):
        line = _line(word, side.shape[1], SIZE)
        start = top + number * row + max(row - line.shape[0], 0) // 2
        side[start : start + line.shape[0]] = line[: height - start]
    return side


def _size(words: Sequence[str], width: int) -> int:
    """The largest size at which all the words fit into `width`, from SIZE down to LEAST."""
    fitting = (size for size in range(SIZE, LEAST, -1) if max(_extent(word, size) for word in words) <= width)
    return next(fitting, LEAST)


def _extent(word: str, size: int) -> int:
    """The width of a text in pixels, with a pixel of air on each side."""
    left, _, width, _ = cv2.getTextSize((0, 0), word, (0, 0), _FONT, size)
    return int(left + width) + 2 if word else 0


def _height(size: int) -> int:
    """That of a line: descenders and a little air included."""
    return size + size // 2


def _line(word: str, width: int, size: int) -> Array:
    """A text in the middle of a white strip (h,width,3)."""
    strip = np.full((_height(SIZE), width, 3), 255, np.uint8)
    if word:
        cv2.putText(strip, word, (max(width - _extent(word, size), 0) // 2 + 1, SIZE), (0, 0, 0), _FONT, size)
    return strip.astype(np.float32) / np.float32(255)
