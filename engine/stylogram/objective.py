"""Objective: weighted losses at the taps and on the picture -> a value per term, the gradient on the picture."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import Error
from .session import Array, Shape

if TYPE_CHECKING:
    from .optimise import Optimiser

Values = NDArray[np.float64]


class Failed(Error):  # noqa: N818 -- says what happened
    """What computes an objective broke in the middle: a GPU that is lost, or whose memory does not suffice."""


class FeatureTerm(Protocol):
    """A loss on the features at one tap. Its weight is part of it."""

    name: str
    tap: str

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        """value (N) += the loss; gradient (N,C,h,w) = its derivative, or += when `accumulate`."""


class PictureTerm(Protocol):
    """A loss on the picture itself."""

    name: str

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        """value (N) += the loss; gradient (N,3,H,W) += its derivative."""


class Canvas(Protocol):
    """The pictures that something is optimised on, and the gradient there."""

    shape: Shape
    picture: Array  #: (N,3,H,W)
    gradient: Array  #: (N,3,H,W)


class Descending(Canvas, Protocol):
    """A network whose taps ask for their gradients one after the other, or all at once: see stages.StagedPass."""

    taps: tuple[str, ...]
    features: dict[str, Array]
    gradients: dict[str, Array]

    def forward(self) -> None:
        """picture -> features."""

    def descend(self) -> Iterator[tuple[str, ...]]:
        """The taps whose gradients are due, and what follows from them, by turns; then gradient is there."""


class Total:
    """A sum of terms on N pictures. `evaluate` is for a subclass to say.

    `values` (terms, N) and `total` (N) are those of the last evaluate(); `seconds` adds up the time of each part.
    """

    def __init__(self, canvas: Canvas, features: Sequence[str], pictures: Sequence[PictureTerm]) -> None:
        """`features`: the names of the terms at taps, which a subclass adds; `pictures` are added here."""
        self._canvas = canvas
        self.names = [*features, *(term.name for term in pictures)]
        self.values = np.zeros((len(self.names), canvas.shape[0]))
        self.total = np.zeros(canvas.shape[0])
        self.seconds = dict.fromkeys(("forward", "losses", "backward"), 0.0)
        self._pictures = list(pictures)

    @property
    def picture(self) -> Array:
        """(N,3,H,W): what is optimised, in place."""
        return self._canvas.picture

    @property
    def gradient(self) -> Array:
        """(N,3,H,W): the gradient of total, after evaluate()."""
        return self._canvas.gradient

    def evaluate(self) -> None:
        """Compute values, total and gradient at the present picture."""
        raise NotImplementedError

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """What is done meanwhile counts as time of that part."""
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started

    def _due(self, below: Iterator[tuple[str, ...]]) -> Iterator[str]:
        """The taps of a network's descend(), each when it is due; what is computed between them is backward's time."""
        while True:
            with self.timed("backward"):
                due = next(below, None)
            if due is None:
                return
            yield from due

    def _finish(self) -> None:
        """Add the terms on the pictures, and sum up."""
        first = len(self.names) - len(self._pictures)
        for row, picture_term in enumerate(self._pictures, first):
            picture_term.add(self.picture, self.gradient, self.values[row])
        self.values.sum(axis=0, out=self.total)

    def finite(self) -> bool:
        """Whether every loss and the whole gradient are numbers. A NaN goes through min and max."""
        extremes = (self.total.min(), self.total.max(), self.gradient.min(), self.gradient.max())
        return bool(np.isfinite(extremes).all())

    def finite_each(self) -> NDArray[np.bool_]:
        """Of each picture (N), whether its loss and its whole gradient are numbers."""
        finite: NDArray[np.bool_] = np.isfinite(self.total)
        if not self.finite():
            finite &= np.isfinite(self.gradient).reshape(len(finite), -1).all(axis=1)
        return finite

    def move(self, optimiser: "Optimiser") -> None:
        """Have `optimiser` take its step from the present pictures, in place."""
        optimiser.step(self.picture, self.gradient, self.total)

    def terms(self) -> dict[str, float]:
        """The mean over the pictures of each term, by name; terms of one name add up."""
        sums: dict[str, float] = {}
        for name, row in zip(self.names, self.values, strict=True):
            sums[name] = sums.get(name, 0.0) + float(row.mean())
        return sums


class Objective(Total):
    """The sum of all terms for the N pictures of a network, and its gradient."""

    def __init__(self, network: Descending, features: Sequence[FeatureTerm], pictures: Sequence[PictureTerm]) -> None:
        super().__init__(network, [term.name for term in features], pictures)
        self.network = network
        self._features = list(features)

    def evaluate(self) -> None:
        """Compute values, total and gradient at the present picture."""
        with self.timed("forward"):
            self.network.forward()
        self.values[:] = 0
        for tap in self._due(self.network.descend()):
            with self.timed("losses"):
                self._add_feature_terms(tap)
        with self.timed("losses"):
            self._finish()

    def _add_feature_terms(self, tap: str) -> None:
        features, gradient = self.network.features[tap], self.network.gradients[tap]
        accumulate = False
        for row, term in enumerate(self._features):
            if term.tap == tap:
                term.add(features, gradient, accumulate, self.values[row])
                accumulate = True
        if not accumulate:
            gradient.fill(0)
