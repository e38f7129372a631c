"""index.html: the template with style, script and data in it, so that it works from a file and without a network."""

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..files import atomic


def write_page(path: Path, kind: str, title: str, data: Any) -> None:
    """A page of a `kind` (`units`, `compare`: the script of that name) about `data`, which the script reads."""
    page = _part("page.html")
    # In a script element only `<` could end it, and JSON has it in strings alone.
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _part("style.css"),
        "SCRIPT": _part("common.js") + _part(f"{kind}.js"),
        "DATA": content,
    }
    before, *rest = page.split("@@")
    filled = [before, *(parts[word] if index % 2 == 0 else word for index, word in enumerate(rest))]
    with atomic(path, "w") as file:
        file.write("".join(filled))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
