"""Responses: what is counted about a layer's activations over a stream of pictures, in memory that does not grow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stylogram_export.network import Network

from .folder import Batch
from .maxima import Ints, LayerPass, Top, check_finite, peaks
from .session import Array

POSITIONS = 64  # of a layer, drawn once: histograms and correlations are over these
LOW, HIGH, FINE = -20, 20, 2  # bins of the histogram: FINE to an octave, from 2^LOW to 2^HIGH
RARE = 0.01  # a filter that fires on a smaller part of the pictures is nearly dead
SETTLED = 0.9  # the correlation with the last checkpoint from which on a layer counts as settled
Doubles = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


def positions(count: int, seed: int = 0) -> Ints:
    """POSITIONS of `count`, or all of fewer, the same for every network with as many."""
    chosen = np.random.default_rng(seed).choice(count, min(count, POSITIONS), replace=False)
    return np.sort(chosen).astype(np.int64)


@dataclass
class Histogram:
    """Of activations: `bins` over log2 of those above 0 (the outermost hold what lies beyond), `zeros`, `negatives`."""

    bins: Ints
    zeros: int = 0
    negatives: int = 0

    @classmethod
    def empty(cls) -> "Histogram":
        """Before the first activation."""
        return cls(np.zeros((HIGH - LOW) * FINE, np.int64))

    def add(self, values: Array) -> None:
        """Count activations of any shape."""
        above = values[values > 0]
        places = np.floor((np.log2(above) - LOW) * FINE).astype(np.int64)
        self.bins += np.bincount(places.clip(0, len(self.bins) - 1), minlength=len(self.bins))
        self.zeros += int((values == 0).sum())
        self.negatives += int((values < 0).sum())

    @property
    def shares(self) -> tuple[list[float], float, float]:
        """The bins', the zeros' and the negatives' parts of all activations."""
        total = max(int(self.bins.sum()) + self.zeros + self.negatives, 1)
        return (self.bins / total).tolist(), self.zeros / total, self.negatives / total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a file."""
        return {"bins": self.bins, "others": np.array([self.zeros, self.negatives])}

    @classmethod
    def of(cls, arrays: Arrays) -> "Histogram":
        """What `arrays` gave."""
        return cls(np.array(arrays["bins"]), *map(int, arrays["others"]))


class Correlation:
    """Pearson's r between K checkpoints, unit by unit, over pictures and positions.

    r(a,b) = (E[ab] − E[a]E[b]) / √((E[a²] − E[a]²)(E[b²] − E[b]²)), sums in float64
    """

    def __init__(self, checkpoints: int, units: int, pairs: Sequence[tuple[int, int]]) -> None:
        self.checkpoints = checkpoints
        self._pairs = tuple(dict.fromkeys(pairs))
        self._count = 0
        self._first = np.zeros((checkpoints, units))
        self._second = np.zeros((checkpoints, units))
        self._mixed = {pair: np.zeros(units) for pair in self._pairs}

    def add(self, values: Sequence[Array]) -> None:
        """The same pictures' activations (N,C,P) in each checkpoint."""
        flat = [np.moveaxis(one, 1, 0).reshape(one.shape[1], -1).astype(np.float64) for one in values]
        self._count += flat[0].shape[1]
        for index, one in enumerate(flat):
            self._first[index] += one.sum(axis=1)
            self._second[index] += np.einsum("cp,cp->c", one, one)
        for a, b in self._pairs:
            self._mixed[a, b] += np.einsum("cp,cp->c", flat[a], flat[b])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The sums, for a file."""
        mixed = np.array([self._mixed[pair] for pair in self._pairs])
        return {"count": np.array(self._count), "first": self._first, "second": self._second, "mixed": mixed}

    def restore(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        self._count = int(arrays["count"])
        self._first, self._second = arrays["first"], arrays["second"]
        self._mixed = dict(zip(self._pairs, arrays["mixed"], strict=True))

    def between(self, a: int, b: int) -> Doubles:
        """r (C) of a pair; NaN for a unit that is constant in one of the two."""
        mean = self._first / max(self._count, 1)
        spread = self._second / max(self._count, 1) - mean**2
        # What rounding leaves of a constant's variance is no variance.
        spread[spread <= 1e-12 * self._second / max(self._count, 1)] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Doubles = (self._mixed[a, b] / self._count - mean[a] * mean[b]) / np.sqrt(spread[a] * spread[b])
        found[~np.isfinite(found)] = np.nan
        return found

    def mean(self, a: int, b: int) -> float | None:
        """The mean over units that vary in both; None where none does."""
        found = self.between(a, b)
        known = found[np.isfinite(found)]
        return float(known.mean()) if len(known) else None


def settled(with_last: Sequence[float | None]) -> int:
    """The first checkpoint from which on the correlation with the last one stays at SETTLED or above.

    `with_last` are those of all checkpoints but the last; that count where it never does before the last.
    """
    last = len(with_last)
    for index in reversed(range(last)):
        value = with_last[index]
        if value is None or value < SETTLED:
            return index + 1
    return 0


@dataclass
class Seen:
    """One network: its label and layers, and what is counted for each of these."""

    label: str
    network: Network
    size: int
    threads: int
    layers: dict[str, str]
    convolution: str | None = None
    top: dict[str, Top] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    positions: dict[str, Ints] = field(default_factory=dict)

    def open(self, length: int) -> LayerPass:
        """The forward pass for batches of `length`; what is counted starts at nothing."""
        seen = (length, 3, self.size, self.size)
        made = LayerPass(self.network, self.layers, seen, self.threads, self.convolution)
        for layer, shape in made.shapes.items():
            self.top[layer] = Top.empty(shape[0], 1)
            self.histograms[layer] = Histogram.empty()
            self.positions[layer] = positions(int(np.prod(shape[1:], dtype=np.int64)))
        return made

    def add(self, layer: str, features: Array, batch: Batch, names: Sequence[str]) -> Array:
        """Count one batch's features (N,C,P); returns the samples (n,C,p) of its pictures."""
        places = batch.whole
        values, where = peaks(features)
        check_finite(values[places], layer, [names[batch.first + place] for place in places])
        self.top[layer].add(values[places], where[places], [batch.first + place for place in places])
        samples: Array = features[places][:, :, self.positions[layer]]
        self.histograms[layer].add(samples)
        return samples


class Counts:
    """What is counted of several networks on the same pictures, as far as the pass has come.

    `correlations`: of layers of checkpoints, empty for networks that are none. `skipped`: the broken pictures, each
    with the reason; `done` of the pictures, whole batches, are counted.
    """

    def __init__(self, networks: Sequence[Seen], passes: Sequence[LayerPass], evolving: Sequence[str]) -> None:
        """`passes` are those that the networks' open() made; `evolving`: the layers whose correlations are wanted."""
        self.skipped: dict[int, str] = {}
        self.done = 0
        self._networks, last = networks, len(networks) - 1
        pairs = [pair for index in range(last) for pair in ((index, index + 1), (index, last))]
        units = {layer: passes[0].shapes[layer][0] for layer in evolving}
        self.correlations = {layer: Correlation(last + 1, count, pairs) for layer, count in units.items()}

    def add(self, batch: Batch, passes: Sequence[LayerPass], names: Sequence[str]) -> None:
        """Every picture of a batch through every network."""
        self.skipped |= batch.broken
        samples: dict[str, list[Array]] = {layer: [] for layer in self.correlations}
        for seen, network in zip(self._networks, passes, strict=True):
            if not batch.whole:
                break
            features = network(batch.squares[seen.size])
            for layer in seen.layers:
                found = seen.add(layer, features[layer], batch, names)
                if layer in samples:
                    samples[layer].append(found)
        for layer, several in samples.items():
            if several:
                self.correlations[layer].add(several)
        self.done = batch.first + batch.count

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a file."""
        made = {"done": np.array(self.done), "skipped": np.array(list(self.skipped), np.int64)}
        made["reasons"] = np.array(list(self.skipped.values()), str)
        for number, correlation in enumerate(self.correlations.values()):
            made |= {f"correlation:{number}:{name}": values for name, values in correlation.arrays().items()}
        for index, seen in enumerate(self._networks):
            for number, layer in enumerate(seen.layers):
                counted = {**seen.top[layer].arrays(), **seen.histograms[layer].arrays()}
                made |= {f"{index}:{number}:{name}": values for name, values in counted.items()}
        return made

    def restore(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        self.done = int(arrays["done"])
        reasons = (str(reason) for reason in arrays["reasons"])
        self.skipped = dict(zip(map(int, arrays["skipped"]), reasons, strict=True))
        for number, correlation in enumerate(self.correlations.values()):
            correlation.restore(_below(arrays, f"correlation:{number}:"))
        for index, seen in enumerate(self._networks):
            for number, layer in enumerate(seen.layers):
                mine = _below(arrays, f"{index}:{number}:")
                seen.histograms[layer] = Histogram.of(mine)
                seen.top[layer] = Top(*(mine[name] for name in seen.top[layer].arrays()))


def _below(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
