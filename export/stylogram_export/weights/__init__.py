"""Weight files as networks. Every module of this directory reads one format and is found by scanning it.

Such a module declares `NAME`, `recognise(head, path)` (by the file's content) and `load(path)`, which gives Weights,
or, as an ONNX file does, a whole Network. Modules that start with an underscore are what several formats share.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..errors import Error
from ..network import Network, adapted
from ..preprocess import Preprocess, named

HEAD = 1024  # bytes that recognise() is given


@dataclass(frozen=True)
class Weights:
    """Tensors by canonical names, as the file has them: "conv1_1.weight" (O,I,H,W) and "conv1_1.bias" (O).

    `preprocess`: what the file or its format says that the network expects, None if nothing does; the first layer's
    channels are in the order that it states. `architecture`: the one whose names these are.
    """

    tensors: Mapping[str, NDArray[Any]]
    preprocess: Preprocess | None
    architecture: str
    provenance: Mapping[str, str] = field(default_factory=dict)


class Format(Protocol):
    """What a module of this directory offers."""

    NAME: str

    def recognise(self, head: bytes, path: Path) -> bool:
        """Whether the file is of this format, by its first bytes and, if need be, more of it."""

    def load(self, path: Path) -> Weights | Network:
        """Its contents. Raises Error, in one line."""


@cache
def formats() -> tuple[Format, ...]:
    """Every format there is."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    found = tuple(cast(Format, importlib.import_module(f"{__name__}.{name}")) for name in names)
    twice = {module.NAME for module in found if sum(other.NAME == module.NAME for other in found) > 1}
    if twice:
        raise ImportError(f"two weight formats are called {', '.join(sorted(twice))}")
    return found


def load_any(
    path: str | Path,
    preprocess: str | None = None,
    pooling: str | None = None,
    architecture: str | None = None,
    classifier: bool = False,
) -> Network:
    """The network of a weight file or an ONNX file, its format recognised by its content.

    `preprocess` and `pooling` go before what the file says. `architecture`: the one that the weights must be of.
    `classifier`: keep fc6, fc7 and fc8, 85% of VGG's weights, which features do not need. Raises Error, in one line,
    for a file that cannot be read, whose format is not known, or whose weights are of another architecture.
    """
    chosen = None if preprocess is None else named(preprocess)
    path = Path(path)
    found = _format_of(path).load(path)
    if isinstance(found, Network):
        return adapted(found, preprocess, pooling)
    if architecture not in (None, found.architecture):
        raise Error(f"{path}: weights of {architecture} are needed, got those of {found.architecture}")
    kept = {name: value for name, value in found.tensors.items() if classifier or not name.startswith("fc")}
    tensors = {name: _checked(path, name, value) for name, value in kept.items()}
    facts = {"file": path.name, **found.provenance}
    try:
        made = models.network(found.architecture, tensors, pooling, 0, chosen or found.preprocess, facts)
    except Error as error:
        raise Error(f"{path}: {error}") from error
    return replace(made, name=path.stem, assumed_preprocess=chosen is None and found.preprocess is None)


def _checked(path: Path, name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    """The tensor as contiguous float32. Raises Error if it is no weights at all, or broken ones."""
    if not np.issubdtype(value.dtype, np.floating):
        raise Error(f"{path}: {name} must be floating-point numbers, got {value.dtype}")
    if not np.isfinite(value).all():
        raise Error(f"{path}: {name} has NaN or infinity in it")
    return np.ascontiguousarray(value, np.float32)


def _format_of(path: Path) -> Format:
    if path.is_dir():
        raise Error(f"{path} is a directory; a network's file is needed")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise Error(f"{path} is empty; a network's file is needed")
    for candidate in formats():
        if candidate.recognise(head, path):
            return candidate
    names = ", ".join(candidate.NAME for candidate in formats())
    raise Error(f"{path} is of no known format (by its content); accepted: {names}")
