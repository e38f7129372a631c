"""Maxima: the pictures that a unit responds to most, over a stream of pictures, with one maximum a picture.

    m(u, p) = max over positions of the activation of unit u for picture p;  kept: the k largest m(u, ·) for each u

Zeiler and Fergus 2014, section 4.1 ("the top 9 activations in a given feature map"), with one place a picture, so that
a picture full of one pattern does not fill the nine. Equal maxima: the picture that comes first; likewise the position.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator
from stylogram_export import winograd
from stylogram_export.network import Network, folded
from stylogram_export.specialise import specialise

from .errors import Error
from .folder import Folder, ahead, read_batch
from .session import Array, flushing, open_session, output_shapes, uses_winograd
from .units import SIDE, native_size

Ints = NDArray[np.int64]
WORKERS = 4  # batches that run side by side, at most: as many times the memory of one


def _names(value: Any) -> Any:
    """`fire5,fire9` -> ("fire5", "fire9"); a sequence of names is taken as it is."""
    if not isinstance(value, str):
        return value
    names = tuple(part.strip() for part in value.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise Error(f"different names joined by commas are accepted, got {value!r}")
    return names


LayerNames = Annotated[tuple[str, ...], BeforeValidator(_names)]


class LayerPass:
    """A network's features at some layers, for batches of one shape."""

    def __init__(
        self,
        network: Network,
        layers: Mapping[str, str],
        shape: tuple[int, int, int, int],
        threads: int = 0,
        convolution: str | None = None,
    ) -> None:
        """`layers`: a name for each tensor. Raises Error for a tensor that is not (N,C,h,w) or (N,C) at this shape."""
        ours = uses_winograd(convolution)
        tensors = list(dict.fromkeys(layers.values()))
        model = specialise(folded(network, tensors), shape)
        found = output_shapes(model)
        for layer, tensor in layers.items():
            sizes = found[tensor]
            if len(sizes) not in (2, 4) or sizes[0] != shape[0] or 0 in sizes:
                shown = ",".join(str(size or "?") for size in sizes)
                raise Error(f"layer {layer} of {network.name} is ({shown}); a layer (N,C,h,w) or (N,C) is accepted")
        self.length, self.size = shape[0], shape[2]
        self.shapes = {layer: found[tensor][1:] for layer, tensor in layers.items()}
        self._layers, self._tensors = dict(layers), tensors
        self._source = model.graph.input[0].name
        self._session = open_session(winograd.rewrite_forward(model) if ours else model, threads)

    def __call__(self, batch: Array) -> dict[str, Array]:
        """(N,3,H,W) in [0,1] -> the features (N,C,P) of every layer; P positions row by row, one for (N,C)."""
        with flushing():
            made = dict(zip(self._tensors, self._session.run(self._tensors, {self._source: batch}), strict=True))
        flat = {tensor: values.reshape(*values.shape[:2], -1) for tensor, values in made.items()}
        return {layer: flat[tensor] for layer, tensor in self._layers.items()}


def peaks(features: Array) -> tuple[Array, Ints]:
    """The maximum over positions of features (N,C,P), and the first position that has it: both (N,C)."""
    places = features.argmax(axis=2)
    return np.take_along_axis(features, places[:, :, None], axis=2)[:, :, 0], places


@dataclass
class Found:
    """The maxima of one batch: `peaks` has (values, places), each (n,C), of every layer for the pictures `numbers` (n).

    `done`: up to where in the folder the batch came; `broken`: its pictures that could not be used, with the reason.
    """

    done: int
    numbers: list[int]
    broken: dict[int, str]
    peaks: dict[str, tuple[Array, Ints]]


def side_by_side(threads: int) -> tuple[int, int]:
    """How many batches run at the same time, and on how many threads each: together as many threads as can be."""
    return max(
        ((workers, threads // workers) for workers in range(1, WORKERS + 1)), key=lambda one: (one[0] * one[1], one)
    )


def scanned(folder: Folder, network: LayerPass, length: int, first: int, workers: int) -> Iterator[Found]:
    """The folder's pictures from `first` on, in order, read in batches of `length`, a multiple of the network's.

    Each of the `workers` reads a batch and runs it: as many batches are in memory as there are workers, and of up to
    twice as many the maxima alone. Two batches side by side on one thread each waste less of two processors than two
    threads on one batch, of which reading the next one takes one away.
    """
    starts = range(first, len(folder.names), length)
    return ahead((partial(_found, folder, network, length, start) for start in starts), 2 * workers, workers)


def _found(folder: Folder, network: LayerPass, length: int, first: int) -> Found:
    batch = read_batch(folder, (network.size,), length, first)
    squares, whole = batch.squares[network.size], batch.whole
    made: dict[str, list[tuple[Array, Ints]]] = {}
    for start in range(0, batch.count if whole else 0, network.length):
        for layer, features in network(squares[start : start + network.length]).items():
            made.setdefault(layer, []).append(peaks(features))
    found = {}
    for layer, pieces in made.items():
        values, places = (np.concatenate(several) for several in zip(*pieces, strict=True))
        found[layer] = values[whole], places[whole]
    return Found(first + batch.count, [first + place for place in whole], batch.broken, found)


@dataclass
class Top:
    """Of C units the k largest maxima, the largest first.

    `values` (C,k), -inf where there were fewer pictures; `numbers` (C,k) of the pictures and `places` (C,k) of the
    maxima, -1 there; `fired` (C): on how many pictures the maximum was above 0.
    """

    values: Array
    numbers: Ints
    places: Ints
    fired: Ints

    @classmethod
    def empty(cls, units: int, count: int) -> "Top":
        """Before the first picture."""
        shape = (units, count)
        absent = np.full(shape, -1, np.int64)
        return cls(np.full(shape, -np.inf, np.float32), absent, absent.copy(), np.zeros(units, np.int64))

    def add(self, values: Array, places: Ints, numbers: Sequence[int]) -> None:
        """Maxima `values` (n,C) at `places` (n,C) of the pictures `numbers` (n), each later than all before."""
        self.fired += (values > 0).sum(axis=0)
        better = np.flatnonzero((values > self.values[:, -1]).any(axis=0))
        if not len(better):
            return
        count = self.values.shape[1]
        joined = np.hstack([self.values[better], values.T[better]])
        order = np.argsort(-joined, axis=1, kind="stable")[:, :count]
        shown = np.broadcast_to(np.asarray(numbers, np.int64), (len(better), len(numbers)))
        for mine, new in ((self.numbers, shown), (self.places, places.T[better])):
            mine[better] = np.take_along_axis(np.hstack([mine[better], new]), order, axis=1)
        self.values[better] = np.take_along_axis(joined, order, axis=1)

    def positive(self, unit: int) -> list[int]:
        """The ranks of a unit at which it fired: a maximum of 0 or less shows nothing."""
        return [rank for rank in range(self.values.shape[1]) if self.values[unit, rank] > 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a file."""
        return {"values": self.values, "numbers": self.numbers, "places": self.places, "fired": self.fired}


def check_finite(values: Array, layer: str, names: Sequence[str]) -> None:
    """Raises Error for the first picture whose maxima (n,C) at a layer are not all numbers."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise Error(
            f"layer {layer} is NaN or infinite for {names[bad[0]]}; a network whose activations are finite is accepted"
        )


def square_size(network: Network, given: int | None) -> int:
    """The side of the squares that are shown to a network. Raises Error where its own pictures are not square."""
    own = native_size(network)
    if given is None and own is not None and own[0] != own[1]:
        raise Error(f"{network.name} takes pictures of {own[1]}x{own[0]}; a network of squares is accepted")
    return given or (own[0] if own else SIDE)


def digest(network: Network) -> str:
    """Of the graph, its weights and its preprocessing."""
    content = network.model.SerializeToString(deterministic=True) + network.preprocess.to_json().encode()
    return hashlib.sha256(content).hexdigest()
