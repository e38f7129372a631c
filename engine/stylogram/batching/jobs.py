"""Jobs: the pictures that a batch makes, from a file of rows or from every pair of two folders.

All rows are checked before anything runs: what is wrong is one line that names the row, the field, what was got and
what is accepted. Relative paths are relative to the file; outputs are below the batch's own directory. Any of them may
be a URL that fsspec knows.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stylogram_export.network import Network

from .. import pictures, remote, zoo
from ..errors import Error, one_of
from ..folder import Folder
from ..options import checked, named
from ..subject import STARTS
from ..tasks.stylize import Options
from .rows import Row

OWN = ("content", "style", "output")  # fields of a row beside the options of stylize
FIELDS = (*OWN, *Options.model_fields)
_KNOWN = frozenset(FIELDS)
SUFFIX = ".png"  # of outputs that were not named
LONGEST = 255  # bytes in a file's name
Check = Callable[[Options], None]


@dataclass(frozen=True)
class Job:
    """One picture to make. `output` is relative to the batch's directory; `digest` names the job and all it says."""

    place: str
    content: str
    styles: tuple[str, ...]
    output: str
    options: Options
    digest: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every picture that it reads: content, styles, the initial one and masks."""
        own = (self.options.init, *(mask for pair in self.options.mask for mask in pair))
        paths = [
            path for path in own if isinstance(path, os.PathLike) or (isinstance(path, str) and path not in STARTS)
        ]
        return (self.content, *self.styles, *map(anchored, paths))


class Reader:
    """Makes jobs of rows. `defaults` are options for every row, `base` is where relative paths begin."""

    def __init__(self, directory: str | Path, base: str | Path, defaults: Mapping[str, Any], check: Check) -> None:
        self._root = anchored(directory)
        self._base = anchored(base)
        self._defaults = dict(defaults)
        self._check = check
        self._options: dict[str, tuple[Options, str]] = {}
        self._outputs: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    def jobs(self, name: str, rows: Iterable[Row]) -> list[Job]:
        """Raises Error for the first thing that is wrong, and says how many other rows are."""
        made: list[Job] = []
        wrong: list[str] = []
        for row in rows:
            try:
                made.append(self._job(row))
            except Error as problem:
                wrong.append(f"{row.place}: {problem}")
        if not made and not wrong:
            raise Error(f"{name} has no jobs; accepted: a row for each picture, with content and style")
        wrong += self._overwritten()
        if wrong:
            more = f"; {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""
            raise Error(f"{name}, {wrong[0]}{more}")
        return made

    def _job(self, row: Row) -> Job:
        values = {name: value for name, value in row.values.items() if not _missing(value)}
        if not values.keys() <= _KNOWN:
            raise one_of("field", next(name for name in values if name not in _KNOWN), FIELDS)
        content, styles = _path("content", values.pop("content", None)), _styles(values.pop("style", None))
        given = values.pop("output", None)
        options, digest = self._chosen(values)
        _check_blend(options, len(styles))
        output = self._inside(_name(content, styles) if given is None else given)
        before = self._outputs.setdefault(output, row.place)
        if before is not row.place:
            named = "" if given is not None else " (made from content and style)"
            raise Error(f"output: {output!r}{named} is also that of {before}; accepted: a name of its own for each row")
        paths = tuple(remote.joined(self._base, path) for path in (content, *styles))
        told = "\0".join((content, *styles, output, digest)).encode("utf-8", "surrogatepass")
        whole = hashlib.sha256(told).hexdigest()[:32]
        job = Job(row.place, paths[0], paths[1:], output, options, whole)
        for path in job.inputs:
            self._sources.setdefault(path, row.place)
        return job

    def _chosen(self, values: dict[str, Any]) -> tuple[Options, str]:
        """The options of a row and their digest; those of equal rows are made once."""
        try:
            key = json.dumps(values, sort_keys=True)
        except TypeError:  # rows from Python may hold paths, arrays and networks
            return self._made(values)
        if key not in self._options:
            self._options[key] = self._made(values)
        return self._options[key]

    def _made(self, values: dict[str, Any]) -> tuple[Options, str]:
        given = {**values, **{name: self._resolved(name, values[name]) for name in _PATHS if name in values}}
        options = checked(Options, {**self._defaults, **given})
        self._check(options)
        told = {**self._defaults, **values}
        told.pop("threads", None)  # changes nothing about the picture
        return options, hashlib.sha256(json.dumps(_plain(told), sort_keys=True).encode()).hexdigest()

    def _resolved(self, name: str, value: Any) -> Any:
        """An option's paths from the base."""
        if name == "mask" and isinstance(value, str):
            parts = _split(name, value)
            if len(parts) % 2:
                raise Error(f"mask: pairs CONTENT_MASK;STYLE_MASK are accepted, got {len(parts)} names")
            value = list(zip(parts[::2], parts[1::2], strict=True))
        if name == "mask" and isinstance(value, list | tuple):
            return tuple(
                tuple(map(self._from_base, pair)) if isinstance(pair, list | tuple) else pair for pair in value
            )
        kept = STARTS if name == "init" else zoo.names()
        return value if isinstance(value, str) and value in kept else self._from_base(value)

    def _from_base(self, value: Any) -> Any:
        return remote.joined(self._base, os.fspath(value)) if isinstance(value, str | os.PathLike) else value

    def _inside(self, output: Any) -> str:
        """`output` relative to the batch's directory."""
        if not isinstance(output, str) or "\0" in output:
            raise Error(f"output: the name of a file is accepted, got {output!r}")
        below = self._below(remote.plain(output))
        if remote.is_url(below) or below == os.pardir or below.startswith((os.pardir + os.sep, os.sep)):
            raise Error(f"output: {output!r} is a path outside; accepted: a file below the batch's directory")
        suffix = os.path.splitext(below)[1].lower()
        if suffix not in pictures.WRITERS:
            raise Error(f"output: {output!r} has suffix {suffix!r}; accepted: {', '.join(pictures.WRITERS)}")
        if any(len(os.fsencode(part)) > LONGEST for part in below.split(os.sep)):
            raise Error(f"output: a name of over {LONGEST} bytes, {below[:40]!r}...; accepted: a shorter one")
        return below

    def _below(self, output: str) -> str:
        """From the batch's directory on."""
        if remote.is_url(output) or remote.is_url(self._root):
            return remote.normal(output).removeprefix(remote.normal(self._root) + "/")
        below = os.path.normpath(output)
        return os.path.relpath(below, self._root) if os.path.isabs(below) else below

    def _overwritten(self) -> Iterator[str]:
        """Outputs over a picture that some job reads."""
        for output, place in self._outputs.items():
            reader = self._sources.get(remote.joined(self._root, output))
            if reader is not None:
                yield f"{place}: output: {output!r} is a picture that {reader} reads; accepted: another name"


_PATHS = ("init", "mask", "network", "scratch")


def anchored(path: str | os.PathLike[str]) -> str:
    """An absolute path; a URL as it is."""
    path = remote.plain(os.fspath(path))
    return path if remote.is_url(path) else os.path.abspath(path)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _path(field: str, value: Any) -> str:
    if value is None:
        raise Error(f"{field}: a picture's path is needed, got nothing")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Error(f"{field}: a picture's path is accepted, got {named(value)}")
    return value


def _styles(value: Any) -> tuple[str, ...]:
    several = _split("style", value) if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        return (_path("style", value),)
    if not several:
        raise Error("style: at least one picture is needed, got none")
    return tuple(_path("style", one) for one in several)


def _split(field: str, value: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in value.split(";"))
    if not all(parts):
        raise Error(f"{field}: names separated by ; are accepted, none of them empty, got {value!r}")
    return parts


def _check_blend(options: Options, styles: int) -> None:
    blend = options.style_blend
    if blend is not None and (len(blend) != styles or not sum(blend)):
        shown = ",".join(f"{share:g}" for share in blend)
        raise Error(f"style-blend: {styles} numbers are accepted, as many as styles and one above 0, got {shown}")
    if len(options.mask) > 1 and styles > 1 and len(options.mask) != styles:
        raise Error(f"mask: with {styles} styles, 1 or {styles} pairs of masks are accepted, got {len(options.mask)}")


def _name(content: str, styles: Sequence[str]) -> str:
    return f"{_stem(content)}__{'+'.join(map(_stem, styles))}{SUFFIX}"


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _plain(value: Any) -> Any:
    """The same in JSON's terms; of arrays and networks a hash of what they hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return [value.shape, str(value.dtype), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, Network):
        return [value.name, hashlib.sha256(value.model.SerializeToString(deterministic=True)).hexdigest()]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def pairs(content: str | Path, style: str | Path) -> Iterator[Row]:
    """A row for every content with every style; each is a folder, searched through, or one file."""
    contents, styles = _found("content", content), _found("style", style)
    number = 0
    for name, path in contents.items():
        for style_name, style_path in styles.items():
            number += 1
            values = {"content": path, "style": [style_path], "output": f"{name}__{style_name}{SUFFIX}"}
            yield Row(f"pair {number} ({path}, {style_path})", values)


def _found(field: str, source: str | Path) -> dict[str, str]:
    """Pictures by a name that is theirs alone: the path in the folder, without suffix unless two differ in it alone."""
    root = anchored(source)
    if not remote.is_url(root) and os.path.isfile(root):
        return {_stem(root): root}
    paths = _below_url(field, root) if remote.is_url(root) else _below_folder(field, source)
    if paths == [""]:  # a file
        return {_stem(root): root}
    bare = Counter(os.path.splitext(path)[0] for path in paths)
    names = [short if bare[short := os.path.splitext(path)[0]] == 1 else path for path in paths]
    return {name.replace("/", "_"): remote.joined(root, path) for name, path in zip(names, paths, strict=True)}


def _below_folder(field: str, source: str | Path) -> Sequence[str]:
    try:
        return Folder.scan(remote.plain(os.fspath(source))).names
    except Error as problem:
        raise Error(str(problem).replace("pictures: ", f"{field}: ", 1)) from None


def _below_url(field: str, url: str) -> Sequence[str]:
    """Every picture below a URL; `""` alone if it is one itself. Hidden ones are left out, as Folder does."""
    found = [
        name
        for name in remote.listed(url)
        if os.path.splitext(name)[1].lower() in pictures.WRITERS and not any(map(_is_hidden, name.split("/")))
    ]
    if found:
        return found
    if os.path.splitext(url)[1].lower() in pictures.WRITERS and remote.exists(url):
        return [""]
    suffixes = ", ".join(pictures.WRITERS)
    raise Error(f"{field}: no picture below {url}; files that end in {suffixes} are accepted")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
