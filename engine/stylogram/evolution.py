"""Evolution: what each unit of a layer shows at every checkpoint of a training (Zeiler and Fergus 2014, figure 4).

At each checkpoint a unit's strongest picture of all, projected back by that checkpoint's own weights.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stylogram_export.network import folded
from stylogram_export.receptive import fields
from stylogram_export.specialise import specialise

from . import pictures
from .folder import Folder, ahead
from .project import Kept, Projector, Rule
from .report import Step
from .report.directory import ReportDirectory, slug
from .responses import Correlation, Seen, settled
from .session import Array
from .sheets import sheet
from .tiles import LEAST, Box, Bytes, block, box, cropped, stretched, tile

MARGIN = 2
Pair = tuple[Bytes, Bytes]  # a projection and its patch


@dataclass(frozen=True)
class Projections:
    """How units are projected: the pictures, the checkpoints that have seen them, the rule, how many in one pass."""

    folder: Folder
    checkpoints: Sequence[Seen]
    rule: Rule
    batch: int

    def strongest(self, seen: Seen, layer: str, units: Sequence[int], step: Callable[[], None]) -> dict[int, Pair]:
        """Of each unit that fires in a checkpoint: the projection of its strongest picture, and the patch."""
        tensor, top = seen.layers[layer], seen.top[layer]
        wanted: dict[int, list[int]] = {}
        for unit in units:
            if top.positive(unit):
                wanted.setdefault(int(top.numbers[unit, 0]), []).append(unit)
            else:
                step()
        if not wanted:
            return {}
        boxes = self._boxes(seen, layer, units)
        projector = Projector(seen.network, tensor, seen.size, self.rule, self.batch, seen.threads, seen.convolution)
        patches: dict[int, Bytes] = {}

        def looked() -> Iterator[tuple[Array, list[Kept[int]]]]:
            numbers = sorted(wanted)
            read = ahead(partial(self.folder.squares, number, [seen.size]) for number in numbers)
            for number, squares in zip(numbers, read, strict=True):
                square, mine = squares[seen.size], wanted[number]
                patches.update((unit, tile(cropped(square, boxes[unit], edge=True))) for unit in mine)
                yield square[None], [Kept(u, u, int(top.places[u, 0]), float(top.values[u, 0])) for u in mine]

        found = {}
        for unit, projection in projector.run(looked()):
            found[unit] = (tile(stretched(cropped(projection, boxes[unit], edge=False))), patches[unit])
            step()
        return found

    def _boxes(self, seen: Seen, layer: str, units: Sequence[int]) -> dict[int, Box]:
        """What each unit sees of its strongest picture."""
        tensor = seen.layers[layer]
        part = specialise(folded(seen.network, [tensor]), (1, 3, seen.size, seen.size))
        shape = [size.dim_value for size in part.graph.output[0].type.tensor_type.shape.dim]
        sight, columns = fields(part)[tensor], shape[3] if len(shape) == 4 else 1
        return {unit: box(sight, int(seen.top[layer].places[unit, 0]), columns, seen.size) for unit in units}


class Strips:
    """Pictures of units over the checkpoints: a strip for each on the page, and a sheet for each layer."""

    def __init__(
        self,
        way: Projections,
        directory: ReportDirectory,
        units: dict[str, list[int]],
        callback: Callable[[Step], None],
    ) -> None:
        self.units = units
        self._way, self._directory, self._callback = way, directory, callback
        self._total = sum(map(len, units.values())) * len(way.checkpoints)
        self._done = 0
        self._taken: set[str] = set()
        self.folders: dict[str, str] = {}  #: of the layers that were written or skipped

    def _step(self) -> None:
        self._done += 1
        self._callback(Step("projections", self._done, self._total))

    def _folder(self, layer: str) -> str:
        """The layer's among the report's, the same in every run that asks in the same order."""
        self.folders[layer] = f"evolution/{slug(layer, self._taken)}"
        return self.folders[layer]

    def skip(self, layer: str) -> None:
        """A layer that an earlier run has written."""
        self._folder(layer)
        self._done += len(self.units[layer]) * len(self._way.checkpoints)

    def described(self, layer: str, sides: tuple[int, int]) -> dict[str, Any]:
        """A layer's strips, for the page: their folder, units, and width and height of each."""
        return {"name": layer, "folder": self.folders[layer], "units": self.units[layer], "size": list(sides)}

    def write(self, layer: str) -> tuple[int, int]:
        """The strips and the sheet of a layer; returns width and height of a strip."""
        units, seen = self.units[layer], self._way.checkpoints
        columns = [self._way.strongest(one, layer, units, self._step) for one in seen]
        shapes = [pair[0].shape for column in columns for pair in column.values()]
        blank = np.full(shapes[0] if shapes else (LEAST, LEAST, 3), 255, np.uint8)
        folder = self._folder(layer)
        where = self._directory.folder(folder)
        made = np.zeros((0, 0, 3), np.float32)
        for unit in units:
            pairs = [column.get(unit, (blank, blank)) for column in columns]
            made = block([*(pair[0] for pair in pairs), *(pair[1] for pair in pairs)], len(columns), MARGIN)
            pictures.write(where / f"{unit:04d}.jpg", made)
        self._sheet(layer, Path(folder).name, [[column.get(unit, (blank,))[0] for column in columns] for unit in units])
        return made.shape[1], made.shape[0]

    def _sheet(self, layer: str, stem: str, rows: list[list[Bytes]]) -> None:
        """The projections alone, rows of units, columns of checkpoints."""
        cells = [one.astype(np.float32) / np.float32(255) for row in rows for one in row]
        labels = [seen.label for seen in self._way.checkpoints]
        numbers = [str(unit) for unit in self.units[layer]]
        made = sheet(cells, len(labels), row_labels=numbers, column_labels=labels, title=layer)
        pictures.write(self._directory.folder("sheets") / f"{stem}.png", made)


def settling(correlation: Correlation) -> dict[str, Any]:
    """Of a layer: its correlation with the last and with the next checkpoint, and where it settled."""
    last = correlation.checkpoints - 1
    with_last = [correlation.mean(index, last) for index in range(last)]
    return {
        "with_last": with_last,
        "with_next": [correlation.mean(index, index + 1) for index in range(last)],
        "settled": settled(with_last),
    }
