"""Output files that are whole or not there: written under a temporary name, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import Error


@contextmanager
def atomic(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that appears under `path` when the block ends well, and not at all when it does not.

    The data go to a hidden file in the same directory (a rename is atomic only within one file system), which is synced
    to the disk and renamed. Whatever goes wrong, Ctrl-C included, the hidden file is removed and an older file under
    `path` stays as it was. A symbolic link is followed; the permissions of a file that is replaced are kept.

    Args:
        path: where the file is to be.
        mode: "wb" for bytes, "w" for UTF-8 text.

    Raises:
        Error: the system refused (disk full, no permission, ...); one line with its reason.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic(out, "w") as file:
    ...     _ = file.write("whole")
    >>> out.read_text()
    'whole'
    """
    target = Path(os.path.realpath(path))
    hidden = _hidden(target)
    try:
        with open(hidden, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target, hidden)
        os.replace(hidden, target)
    except OSError as problem:
        raise Error(f"{path} cannot be written: {reason(problem)}; an older file is left as it was") from problem
    finally:
        with suppress(OSError):  # not there; or no such name can be, which has been said
            hidden.unlink()


def check_output(path: str | os.PathLike[str], suffixes: Iterable[str] = ()) -> Path:
    """That `path` can be written, asked before an hour of computing and not after it.

    Args:
        path: the file to be written; it may exist.
        suffixes: the accepted ones, with their dot, in lower case; none given: any.

    Returns:
        The same as a `Path`.

    Raises:
        Error: a suffix that is not accepted, a directory or device under that name, a directory that is missing or
            cannot be written to.
    """
    path = Path(path)
    _check_suffix(path, list(suffixes))
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise Error(f"{path} is a directory; accepted: the name of a file to write")
        if target.exists() and not target.is_file():
            raise Error(f"{path} is not a regular file; accepted: the name of a file to write")
        if not target.parent.exists():
            raise Error(f"{path}: there is no directory {target.parent}; accepted: a file in an existing directory")
        if not target.parent.is_dir():
            raise Error(f"{path}: {target.parent} is not a directory; accepted: a file in an existing directory")
        _try_directory(target)
    except OSError as problem:
        raise Error(f"{path} cannot be written: {reason(problem)}; accepted: a file in a writable directory") from None
    return path


def reason(problem: OSError) -> str:
    """The system's words for an error, without number and file name: `No space left on device`."""
    return problem.strerror or str(problem) or type(problem).__name__


def _check_suffix(path: Path, accepted: list[str]) -> None:
    if "\0" in str(path):
        raise Error(f"output name {str(path)!r} has a NUL character; accepted: the name of a file to write")
    if accepted and path.suffix.lower() not in accepted:
        got = f"suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise Error(f"{path} has {got}; accepted: {', '.join(accepted)}")


def _try_directory(target: Path) -> None:
    """Asking for permission bits is not enough (read-only file systems, ACLs): a file is made there and removed."""
    hidden = _hidden(target)
    try:
        hidden.touch(exist_ok=False)
    finally:
        hidden.unlink(missing_ok=True)


def _hidden(target: Path) -> Path:
    # 40 characters are at most 160 bytes in UTF-8: the name stays under the usual 255 however long the target's is.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}")
