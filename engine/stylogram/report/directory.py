"""The directory of a report: whose it is, whether a run that was stopped can go on in it, and its state on the disk."""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Error
from ..files import atomic, reason

MARK = "stylogram.json"  # what makes a directory ours
STATE = "state.npz"
_HIDDEN = re.compile(r"^\..+\.[0-9a-f]{12}$")  # of files.atomic, when the process was killed in it
Settings = Mapping[str, str | int | list[str] | list[int] | None]


class ReportDirectory:
    """A new or empty directory, or the one in which the same run was stopped or is done.

    `settings`: everything that the report depends on. `done`: an earlier run with the same ones got to its end.
    """

    def __init__(self, path: str | Path, made_by: str, settings: Settings, apart: Path | None = None) -> None:
        """Looks only; `claim` makes it. Raises Error for one that is not ours, of other settings, or below `apart`."""
        self.path = Path(path)
        self._made_by, self._settings = made_by, dict(settings)
        target = Path(os.path.realpath(path))
        if apart is not None and target.is_relative_to(os.path.realpath(apart)):
            raise Error(f"{path} lies in the folder of pictures {apart}; a directory outside it is accepted")
        try:
            self.done = self._look(target)
        except OSError as problem:
            raise Error(f"{path} cannot be read: {reason(problem)}; accepted: a new or empty directory") from None

    def _look(self, target: Path) -> bool:
        accepted = "accepted: a new or empty directory, or the report of the same run"
        if not target.exists():
            if not target.parent.is_dir():
                raise Error(f"{self.path}: there is no directory {target.parent}; {accepted}")
            return False
        if not target.is_dir():
            raise Error(f"{self.path} is a file; {accepted}")
        mark = target / MARK
        if not mark.is_file():
            if any(not _HIDDEN.match(entry.name) for entry in target.iterdir()):
                raise Error(f"{self.path} is not empty, and no report; {accepted}")
            return False
        return self._same(mark, accepted)

    def _same(self, mark: Path, accepted: str) -> bool:
        try:
            there = json.loads(mark.read_text(encoding="utf-8"))
            made_by, settings, done = there["made_by"], dict(there["settings"]), bool(there["done"])
        except (ValueError, KeyError, TypeError):
            raise Error(f"{mark} is damaged, or of another program; {accepted}") from None
        if made_by != self._made_by:
            raise Error(f"{self.path} is a report by {made_by}; {accepted}")
        for name, value in self._settings.items():
            if settings.get(name) != value:
                what = f"{name}{_shown(settings.get(name), value)}"
                raise Error(f"{self.path} is a report with another {what}; {accepted}")
        return done

    def claim(self) -> None:
        """Make the directory, mark it as ours, and remove what a killed run left half-written."""
        try:
            self.path.mkdir(exist_ok=True)
            for entry in [entry for entry in self.path.rglob(".*") if _HIDDEN.match(entry.name)]:
                entry.unlink(missing_ok=True)
        except OSError as problem:
            raise Error(f"{self.path} cannot be made: {reason(problem)}; accepted: a writable place") from None
        self._write_mark(False)

    def finish(self) -> None:
        """Note that the report is whole."""
        self._write_mark(True)
        self.done = True

    def _write_mark(self, done: bool) -> None:
        self.write_json(MARK, {"made_by": self._made_by, "settings": self._settings, "done": done})

    def write_json(self, name: str, content: Any) -> None:
        """A file of the report, whole or not at all."""
        with atomic(self.path / name, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")

    def folder(self, name: str) -> Path:
        """A folder in the report."""
        made = self.path / name
        try:
            made.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Error(f"{made} cannot be made: {reason(problem)}; accepted: a writable place") from None
        return made

    def save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the state of a run, so that the next one with the same settings goes on from here."""
        with atomic(self.path / STATE) as file:
            np.savez(file, allow_pickle=False, **arrays)

    def state(self) -> dict[str, NDArray[Any]] | None:
        """What `save` kept last; None where nothing was."""
        path = self.path / STATE
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
            raise Error(f"{path} is damaged ({str(problem)[:80]}); remove {self.path} to begin anew") from None


def _shown(there: Any, given: Any) -> str:
    """Both values, where they are short enough to say something."""
    words = [json.dumps(value) for value in (there, given)]
    return f" ({words[0]}, got {words[1]})" if max(map(len, words)) <= 60 else ""


def slug(name: str, taken: set[str]) -> str:
    """A file's name for a layer or a network; `taken` gets it. Letters of either case count as the same."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:60] or "layer"
    made, number = stem, 1
    while made.lower() in taken:
        number += 1
        made = f"{stem}_{number}"
    taken.add(made.lower())
    return made


def skipped(names: Sequence[str], reasons: Mapping[int, str]) -> list[dict[str, str]]:
    """The pictures that could not be used, for a page's table."""
    return [{"picture": plain(names[number]), "reason": plain(why)} for number, why in reasons.items()]


def skipped_note(names: Sequence[str], reasons: Mapping[int, str], listed: str) -> list[str]:
    """A line that counts them and shows the first; none where all were used."""
    if not reasons:
        return []
    number, why = next(iter(reasons.items()))
    some = f"{len(reasons)} of {len(names)} pictures were skipped, all listed in {listed}"
    return [plain(f"{some}: {names[number]}: {why}")]


def plain(text: str) -> str:
    """A file's name as valid text: bytes that are none become question marks."""
    return text.encode("utf-8", "replace").decode()
