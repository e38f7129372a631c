"""Paths with a scheme (s3://, gs://, memory://, ...): read, written and listed by fsspec.

https://filesystem-spec.readthedocs.io. A path of `file://` is an ordinary one. Where others read and write is the
library's business: credentials, retries, proxies; its errors become one line.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import Error

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
_FILE = "file://"


def is_url(path: object) -> bool:
    """Whether `path` has a scheme; paths of file:// do not count, see plain()."""
    return isinstance(path, str) and "://" in path and _SCHEME.match(path) is not None and not path.startswith(_FILE)


def plain(path: str) -> str:
    """`path` without the scheme file://.

    >>> plain("file:///a/b.png"), plain("s3://a/b.png")
    ('/a/b.png', 's3://a/b.png')
    """
    return path.removeprefix(_FILE)


def joined(base: str, path: str) -> str:
    """`path` seen from `base`, normalised; either may be a URL.

    >>> joined("s3://bucket/jobs", "photos/./a.jpg"), joined("/home/me", "../b.jpg"), joined("/home/me", "gs://c/d.jpg")
    ('s3://bucket/jobs/photos/a.jpg', '/home/b.jpg', 'gs://c/d.jpg')
    """
    path = plain(path)
    if is_url(path):
        return path
    if not is_url(base) or os.path.isabs(path):
        return os.path.normpath(os.path.join(base, path))
    return normal(f"{base}/{path}")


def normal(path: str) -> str:
    """The shortest that says the same of a relative path or a URL.

    >>> normal("s3://bucket/a//./b/../c.png"), normal("./a.png")
    ('s3://bucket/a/c.png', 'a.png')
    """
    scheme, found, rest = path.rpartition("://")
    head = scheme + found
    return head + posixpath.normpath(rest) if rest else head


def read(url: str) -> bytes:
    """All of a file. Raises Error: none of that name, no access, no connection, no such scheme."""
    with _explained(url, "read"):
        files, path = _opened(url)
        return bytes(files.cat_file(path))


def write(url: str, data: bytes) -> None:
    """A file, whole or not at all where the file system can: committed when all is there. Raises Error."""
    with _explained(url, "written"):
        files, path = _opened(url)
        if path.startswith("/"):  # a bucket/key needs no folders, and to make some would make the bucket
            files.makedirs(posixpath.dirname(path), exist_ok=True)
        file = files.open(path, "wb", autocommit=False)
        try:
            with file:
                file.write(data)
            file.commit()
        except BaseException:
            file.discard()
            raise


def listed(url: str) -> list[str]:
    """The names of the files below `url`, from there on, sorted; none where there is nothing. Raises Error."""
    with _explained(url, "listed"):
        files, path = _opened(url)
        files.invalidate_cache()
        root = path.rstrip("/") + "/"
        return sorted(found.removeprefix(root) for found in files.find(path) if found.startswith(root))


def exists(url: str) -> bool:
    """Whether there is something of that name. Raises Error."""
    with _explained(url, "looked for"):
        files, path = _opened(url)
        return bool(files.exists(path))


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise Error(f"{url}: fsspec is needed for it: pip install 'stylogram[remote]'") from None
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as problem:  # its own package is missing, or there is no such scheme
        raise Error(f"{url}: {_said(problem)}") from None
    return files, str(path)


@contextmanager
def _explained(url: str, done: str) -> Iterator[None]:
    """Whatever goes wrong in a library of its own errors, said in one line."""
    try:
        yield
    except Error:
        raise
    except FileNotFoundError:
        raise Error(f"there is no file {url}; accepted: one that can be {done}") from None
    except Exception as problem:
        raise Error(f"{url} cannot be {done}: {_said(problem)}") from problem


def _said(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300] or type(problem).__name__
