"""Rows of a jobs file: CSV with a header, or JSON lines with an object each."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import remote
from ..errors import Error, one_of
from ..files import reason


@dataclass(frozen=True)
class Row:
    """Values by field, a hyphen in its name or an underscore; `place` is how messages call the row."""

    place: str
    values: Mapping[str, Any]


def read(path: str | Path, fields: Iterable[str]) -> list[Row]:
    """The rows of a file, which may be at a URL. Rows count from 1, the header is none; empty lines are none either.

    Raises Error: no such file, not UTF-8, another suffix, a header without content or style or with an unknown column,
    a row of too many cells, a line that is no JSON object.
    """
    name = str(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in FORMATS:
        raise Error(f"{path} has suffix {suffix!r}; accepted: {', '.join(FORMATS)}")
    try:
        data = remote.read(name) if remote.is_url(name) else Path(remote.plain(name)).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as problem:
        raise Error(f"{path} cannot be read: {reason(problem)}; accepted: a jobs file") from None
    except UnicodeDecodeError as problem:
        raise Error(f"{path} is not UTF-8 (byte {problem.start}); accepted: a jobs file in UTF-8") from None
    if not text.strip():
        raise Error(f"{path} is empty; accepted: a row for each picture, with content and style")
    return list(FORMATS[suffix](name, text, tuple(fields)))


def given(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Rows from Python."""
    for number, values in enumerate(rows, 1):
        if not isinstance(values, Mapping):
            raise Error(f"row {number}: a mapping of fields to values is accepted, got {type(values).__name__}")
        yield Row(f"row {number}", {_field(name): value for name, value in values.items()})


def _field(name: Any) -> str:
    return str(name).strip().replace("-", "_")


def _csv(path: str, text: str, fields: tuple[str, ...]) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [_field(name) for name in next(lines, [])]
        _check_header(path, header, fields)
        number = 0
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            number += 1
            place = f"row {number} (line {lines.line_num})"
            if len(cells) > len(header):
                raise Error(f"{path}, {place}: {len(cells)} cells; accepted: {len(header)}, as many as columns")
            yield Row(place, {name: cell.strip() for name, cell in zip(header, cells, strict=False)})
    except csv.Error as problem:
        raise Error(f"{path}, line {lines.line_num}: {problem}; accepted: cells separated by commas") from None


def _check_header(path: str, header: list[str], fields: tuple[str, ...]) -> None:
    for name in header:
        if name not in fields:
            raise Error(f"{path}: {one_of('column', name, fields)}")
        if header.count(name) > 1:
            raise Error(f"{path}: column {name!r} is there twice; accepted: once")
    for name in ("content", "style"):
        if name not in header:
            raise Error(f"{path}: there is no column {name!r}; accepted: a header with content and style, got {header}")


def _json(path: str, text: str, fields: tuple[str, ...]) -> Iterator[Row]:  # noqa: ARG001 -- checked row by row
    number = 0
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        number += 1
        place = f"row {number} (line {line})"
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as problem:
            raise Error(f"{path}, {place}: no JSON ({problem}); accepted: an object on each line") from None
        if not isinstance(values, dict):
            raise Error(f"{path}, {place}: a JSON object is accepted, got {type(values).__name__}")
        yield Row(place, {_field(name): value for name, value in values.items()})


FORMATS: dict[str, Callable[[str, str, tuple[str, ...]], Iterator[Row]]] = {
    ".csv": _csv, ".jsonl": _json, ".ndjson": _json, ".json": _json
}  # fmt: skip
