"""The records under bench/results: reading them, and numbers as text."""

import json
import re
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Records = dict[str, Record]


def read(folder: Path) -> Records:
    """Every record by its name, sorted, numbers by value."""
    paths = sorted(folder.glob("*.json"), key=lambda path: [_number(part) for part in re.split(r"(\d+)", path.stem)])
    return {path.stem: json.loads(path.read_text()) for path in paths}


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdigit() else (0, part)


def seconds(value: float) -> str:
    """With three digits, in ms under 0.1 s."""
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def ratio(spread: dict[str, float]) -> str:
    """Median (least to most)."""
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"


def percent(share: float) -> str:
    """Of 1."""
    return f"{100 * share:.0f} %"
