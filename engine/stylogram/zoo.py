"""Networks by name or file, and fetching the weights of the named ones.

Weights are downloaded by `fetch` alone, never on the way: `stylogram network fetch NAME`. They are kept in the user's
cache directory, or in the one that STYLOGRAM_CACHE names. STYLOGRAM_MIRROR replaces the address before the file name.
"""

import hashlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import platformdirs
from stylogram_export import models
from stylogram_export.network import Network, adapted, load
from stylogram_export.preprocess import named
from stylogram_export.weights import load_any

from .errors import Error, one_of

Report = Callable[[int, int | None], None]  # bytes there, bytes in all if the server says

PYTORCH = "https://download.pytorch.org/models/"
ATTEMPTS = 5  # connections in a row that bring nothing new
PAUSE = 1.0  # seconds before the second connection that follows one in vain, then twice as long, ...
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 18


@dataclass(frozen=True)
class Entry:
    """Weights that can be fetched. `sha256`: the first digits of the file's SHA-256, as its publisher states them."""

    name: str
    file: str
    sha256: str
    architecture: str
    preprocess: str
    mebibytes: int
    base_url: str = PYTORCH
    source: str = "torchvision, trained on ImageNet"


_TORCHVISION = (
    ("vgg11", "8a719046", 507),
    ("vgg13", "19584684", 508),
    ("vgg16", "397923af", 528),
    ("vgg19", "dcbb9e9d", 548),
)
ENTRIES = {
    name: Entry(name, f"{name}-{digest}.pth", digest, name, "imagenet", size) for name, digest, size in _TORCHVISION
}
DEFAULT, RANDOM = "seednet", "random"
BUILT_IN = {
    DEFAULT: "a small VGG that Stylogram trained on procedural pictures (training/): the default",
    RANDOM: "a small VGG with random weights: it has learned nothing",
}


def names() -> list[str]:
    """Every name that resolve() knows: what is built in first, then what can be fetched."""
    return [*BUILT_IN, *ENTRIES]


def _own() -> Network:
    """The network that comes with the package, from its file."""
    with resources.as_file(resources.files(__package__) / "networks" / f"{DEFAULT}.onnx") as path:
        return load(path)


def resolve(
    spec: str | Path | Network, preprocess: str | None = None, pooling: str | None = None, seed: int = 0
) -> Network:
    """The network of a name (`seednet`, `random`, `vgg19`, ...) or of a file that stylogram_export.weights reads.

    A Network stands for itself. `preprocess` and `pooling` go before the network's own; `seed` makes the weights of
    `random`. Raises Error for an unknown name (the nearest first), for named weights that were not fetched, and for a
    file that cannot be used.
    """
    if isinstance(spec, Network):
        return adapted(spec, preprocess, pooling)
    spec = str(spec)
    if spec == DEFAULT:
        return adapted(_own(), preprocess, pooling)
    if spec == RANDOM:
        return models.network(spec, None, pooling, seed, None if preprocess is None else named(preprocess))
    if spec in ENTRIES:
        entry = ENTRIES[spec]
        path = cached(spec)
        if path is None:
            hint = f"`stylogram network fetch {spec}` downloads it ({entry.mebibytes} MB)"
            raise Error(f"the weights of {spec} are not here: {hint}; or give a file")
        found = load_any(path, preprocess or entry.preprocess, pooling, entry.architecture)
        return replace(found, name=spec, provenance={**found.provenance, "source": entry.source})
    if spec and Path(spec).exists():
        return load_any(spec, preprocess, pooling)
    if Path(spec).suffix or Path(spec).name != spec:
        raise Error(f"no such network file: {spec}; accepted: a file, or one of {', '.join(names())}")
    raise one_of("network", spec, names())


def cache_directory() -> Path:
    """Where weights are kept."""
    return Path(os.environ.get("STYLOGRAM_CACHE") or platformdirs.user_cache_dir("stylogram"))


def cached(name: str, cache_dir: Path | None = None) -> Path | None:
    """The file of a named network's weights if they were fetched. Raises Error for an unknown name."""
    path = (cache_dir or cache_directory()) / _entry(name).file
    return path if path.is_file() else None


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise one_of("network to fetch", name, ENTRIES)
    return ENTRIES[name]


def fetch(
    name: str, *, base_url: str | None = None, cache_dir: Path | None = None, progress: Report | None = None
) -> Path:
    """Download the weights of a named network into the cache and return their path; at once if they are there.

    A cut connection is taken up where it broke, in this call (a few times) or in the next one; the file takes its name
    only when its SHA-256 is right. `progress(done, total)` gets bytes. Several processes may fetch the same name: one
    downloads, the others wait. Raises Error: unknown name, no connection, a wrong hash, a directory or disk that does
    not take the file.
    """
    entry = _entry(name)
    directory = cache_dir or cache_directory()
    target = directory / entry.file
    base = base_url or os.environ.get("STYLOGRAM_MIRROR") or entry.base_url
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
        raise Error(f"an address that begins with http:// or https:// is accepted, got {base!r}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / f"{entry.file}.lock"):
            if not target.is_file():
                download = _Download(f"{base.rstrip('/')}/{entry.file}", directory / f"{entry.file}.part", progress)
                download.run()
                _verify(download, entry)
                os.replace(download.part, target)
    except OSError as error:
        raise Error(f"cannot write to {directory}: {error.strerror or error}") from error
    return target


def _verify(download: "_Download", entry: Entry) -> None:
    with download.part.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if not got.startswith(entry.sha256):
        download.part.unlink()  # nothing of it can be trusted: the next fetch begins anew
        what = f"SHA-256 must begin with {entry.sha256}, got {got[:16]}"
        raise Error(f"{download.url} is not {entry.name}: {what}; the download was removed")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process or thread at a time is inside."""
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # closing the file gives it back, and so does dying
            yield


class _BrokenError(Exception):
    """A connection that broke; what it brought is kept."""


class _Download:
    """One file, brought in as many connections as it takes."""

    def __init__(self, url: str, part: Path, progress: Report | None) -> None:
        self.url, self.part = url, part
        self._progress = progress or (lambda _done, _total: None)

    @property
    def done(self) -> int:
        """Bytes on disk."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Until the file is complete, or so many connections in a row brought nothing."""
        idle = 0
        while True:
            before = self.done
            try:
                return self._connect()
            except _BrokenError as cut:
                idle = 0 if self.done > before else idle + 1
                if idle >= ATTEMPTS:
                    kept = f"{self.done / 2**20:.1f} MB are kept and the next fetch goes on from there"
                    raise Error(f"cannot download {self.url}: {cut}; {kept}") from cut
                time.sleep(PAUSE * idle)

    def _connect(self) -> None:
        request = urllib.request.Request(self.url, headers={"User-Agent": "stylogram"})
        start = self.done
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                self._receive(answer, start)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, start)
        except (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
            raise _BrokenError(str(getattr(error, "reason", error)) or type(error).__name__) from error

    def _refused(self, error: urllib.error.HTTPError, start: int) -> None:
        """416: the part is as long as the file, or longer and of another file. 5xx may pass. Others are final."""
        if error.code == 416 and start:
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(start):
                return
            self.part.unlink()
            raise _BrokenError("the part on disk is not of this file") from error
        if error.code >= 500 or error.code == 429:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from error
        raise Error(f"cannot download {self.url}: the server answers {error.code} {error.reason}") from error

    def _receive(self, answer: http.client.HTTPResponse, start: int) -> None:
        resumed = answer.status == 206 and _range_start(answer) == start
        if answer.status == 206 and not resumed:
            self.part.unlink(missing_ok=True)
            raise _BrokenError("the server sent another range than asked for")
        done = start if resumed else 0  # a server that knows no ranges sends everything again
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with self.part.open("ab" if resumed else "wb") as file:
            done = self._copy(answer, file, done, total)
        if total is not None and done < total:
            raise _BrokenError(f"the connection broke after {done / 2**20:.1f} of {total / 2**20:.1f} MB")

    def _copy(self, answer: http.client.HTTPResponse, file: IO[bytes], done: int, total: int | None) -> int:
        self._progress(done, total)
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            self._progress(done, total)
        return done


def _range_start(answer: http.client.HTTPResponse) -> int | None:
    """Of `Content-Range: bytes 100-199/200`."""
    first = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None
