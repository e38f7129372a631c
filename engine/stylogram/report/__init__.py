"""Reports: a directory with a page that any browser opens from the disk, its pictures, and the figures as JSON.

`page.html`, `style.css`, `common.js` and a script for each kind of report become one `index.html`: it asks no network
for anything, and its pictures, files beside it, are loaded when they come into view.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """Progress of a report: `phase` says in a word or two what is counted, `done` of `total`."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Report:
    """What was written: the directory, a line about it, and notes on what a user may want to know."""

    directory: Path
    summary: str
    notes: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.directory / "index.html"
