"""The objective of a picture in tiles: its losses and gradient are those of the whole picture.

A Gram matrix is a sum over positions. A first pass over the tiles adds up what each owns; from the sums follow the
losses and the gradients at the layers; a second pass computes each tile's features again and takes the gradients of
its own positions back to its pixels. The picture's gradient is the sum of what its tiles give. The last tile of the
first pass is the first of the second: its features are still there.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from .errors import Error
from .objective import PictureTerm, Total
from .session import Array, Shape, aligned
from .stages import StagedPass
from .tiling import Owned, Plan, Tile, Window, parts


class PartTerm(Protocol):
    """A loss on the features at one tap that is made of parts, runs of positions: the same ones in both passes."""

    name: str
    tap: str

    def begin(self) -> None:
        """A new picture."""

    def gather(self, features: Array, window: Window) -> None:
        """First pass: features (1,C,P) of the positions in `window` of the layer."""

    def between(self) -> float:
        """The loss, or as much of it as follows from the first pass."""

    def spread(self, features: Array, window: Window, gradient: Array, accumulate: bool) -> float:
        """Second pass: gradient (1,C,P) = the loss's derivative, or += when `accumulate`; what is left of the loss."""


class TiledPass:
    """The features of a picture (1,3,H,W), tile by tile, in the sessions of one tile.

    `picture` and `gradient` are the whole picture's.
    """

    def __init__(self, tile: StagedPass, plan: Plan, size: tuple[int, int]) -> None:
        self.shape: Shape = (1, 3, *size)
        self.plan = plan
        self.picture, self.gradient = aligned(self.shape), aligned(self.shape)
        self.shapes = plan.shapes  # (1,C,h,w) of each tap, of the whole picture
        self._tile = tile
        for tap, owned in plan.tiles[-1].owned.items():
            end = tuple(window.stop for window in owned.inside)
            if end != tile.shapes[tap][2:]:
                raise Error(f"tile: layer {tap} has {tile.shapes[tap][2:]} positions in the last tile, not {end}")

    def forward(self, tile: Tile) -> None:
        """The features of one tile."""
        self._tile.picture[0] = self.picture[0][(slice(None), *tile.pixels)]
        self._tile.forward()

    def parts(self, tile: Tile, tap: str) -> Iterator[tuple[Owned, Array]]:
        """The features (1,C,P) that a tile owns at a tap, in parts."""
        return parts(self._tile.features[tap], tile.owned[tap])

    def descend(self, tile: Tile) -> Iterator[tuple[str, ...]]:
        """The taps whose gradients are due, by turns; then adds what they give to the picture's gradient.

        The last forward() must have been of the same tile. Gradients that nothing is put to are 0.
        """
        for due in self._tile.descend():
            for tap in due:
                self._tile.gradients[tap].fill(0)
            yield due
        into = self.gradient[0][(slice(None), *tile.pixels)]
        into += self._tile.gradient[0]

    def put(self, tap: str, part: Owned, gradient: Array) -> None:
        """The gradients (1,C,P) of a part."""
        into = self._tile.gradients[tap][0][(slice(None), *part.inside)]
        into[...] = gradient.reshape(into.shape)


class TiledObjective(Total):
    """The sum of all terms for one picture in tiles, and its gradient."""

    def __init__(self, network: TiledPass, features: Sequence[PartTerm], pictures: Sequence[PictureTerm]) -> None:
        super().__init__(network, [term.name for term in features], pictures)
        self.network = network
        self._features = list(features)
        self._taps = list(dict.fromkeys(term.tap for term in features))

    def evaluate(self) -> None:
        """Compute values, total and gradient at the present picture."""
        tiles = self.network.plan.tiles
        for term in self._features:
            term.begin()
        for tile in tiles:
            self._forward(tile)
            with self.timed("losses"):
                self._gather(tile)
        self.values[:] = 0
        for row, term in enumerate(self._features):
            self.values[row] += term.between()
        self.gradient.fill(0)
        for tile in reversed(tiles):
            if tile is not tiles[-1]:
                self._forward(tile)
            for tap in self._due(self.network.descend(tile)):
                with self.timed("losses"):
                    self._spread(tile, tap)
        with self.timed("losses"):
            self._finish()

    def _forward(self, tile: Tile) -> None:
        with self.timed("forward"):
            self.network.forward(tile)

    def _gather(self, tile: Tile) -> None:
        for tap in self._taps:
            own = [term for term in self._features if term.tap == tap]
            for part, features in self.network.parts(tile, tap):
                for term in own:
                    term.gather(features, part.whole)

    def _spread(self, tile: Tile, tap: str) -> None:
        own = [(row, term) for row, term in enumerate(self._features) if term.tap == tap]
        for part, features in self.network.parts(tile, tap):
            gradient = np.empty_like(features)
            for number, (row, term) in enumerate(own):
                self.values[row] += term.spread(features, part.whole, gradient, number > 0)
            self.network.put(tap, part, gradient)
