"""Deconvnet: for each unit of a layer the pictures of a folder on which it is strongest, projected back to the pixels.

Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", sections 2.1 and 4.1. Two passes: one
over the pictures keeps, for every unit, its largest maxima with one place a picture (maxima.py); the other takes those
back through the network (project.py). Both are kept on the disk as they go: a run that was stopped goes on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from stylogram_export.graph import cut
from stylogram_export.receptive import Field as Seen
from stylogram_export.receptive import fields
from stylogram_export.specialise import specialise

from .. import pictures as picture_files
from ..errors import Error
from ..folder import Folder, ahead
from ..looking import Looking
from ..maxima import (
    Found,
    LayerNames,
    LayerPass,
    Top,
    check_finite,
    digest,
    scanned,
    side_by_side,
    square_size,
)
from ..options import NetworkOptions, check_callback, check_path, checked
from ..project import Kept, Projector
from ..report import Report, Step
from ..report.directory import ReportDirectory, plain, skipped, skipped_note, slug
from ..report.page import write_page
from ..session import Array, uses_winograd
from ..sheets import sheet
from ..tiles import Box, Bytes, block, box, cropped, stretched, tile
from ..units import SIDE, Units, check_units, shape_of

ARGUMENTS = {"pictures": False}
REPORT = True
EVERY = 2.0  # seconds between two states on the disk
CHUNK = 32  # units that are projected before they are written: what bounds the memory, and a sheet
SHEET_BLOCK, SHEET_COLUMNS = 200, 8

Callback = Callable[[Step], None]


class Options(NetworkOptions):
    """What `deconvnet` takes beside the folder and the report's directory."""

    layer: LayerNames = Field(title="A,B", description="the layer, or several: `stylogram network show` lists them")
    unit: Units | None = Field(None, title="1,2,5-9", description="units; all of the layer if not given")
    rule: Literal["deconvnet", "guided", "gradient"] = Field("deconvnet", description="what a ReLU passes back")
    size: int | None = Field(
        None, ge=16, le=4096, title="PIXELS",
        description=f"side of the squares that the pictures become; the network's own, or {SIDE}, if not given",
    )  # fmt: skip
    top: int = Field(9, ge=1, le=100, title="K", description="pictures a unit")
    batch: int = Field(8, ge=1, le=256, title="N", description="pictures, and units, in one pass: speed against memory")


def deconvnet(pictures: str | Path, *, output: str | Path, callback: Callback | None = None, **options: Any) -> Report:
    """Write a report into the directory `output` on the units of a layer over the folder `pictures`.

    `options` are the fields of Options. `callback` is given a Step now and then; it may raise KeyboardInterrupt to
    stop: the same call then goes on where it was. Raises Error for bad input, before anything is written.
    """
    check_path("pictures", pictures)
    check_path("output", output)
    check_callback(callback, "Step")
    return _Work(Folder.scan(pictures), output, checked(Options, options), callback or (lambda _step: None)).run()


@dataclass
class _Layer:
    """One layer: its tensor, what its units see, how many positions a row has, the units asked for, their maxima."""

    name: str
    tensor: str
    seen: Seen
    columns: int
    units: list[int]
    top: Top
    folder: str


class _Work:
    def __init__(self, folder: Folder, output: str | Path, options: Options, callback: Callback) -> None:
        self.folder, self.options, self.callback = folder, options, callback
        self.look = Looking(options)
        self.size = square_size(self.look.network, options.size)
        self.layers = self._layers()
        self.skipped: dict[int, str] = {}
        self.done = 0  # pictures, whole batches of them
        self.projected = 0  # chunks of units
        self.directory = ReportDirectory(output, "stylogram deconvnet", self._settings(), folder.root)
        self.chunks = [
            (layer, layer.units[start : start + CHUNK])
            for layer in self.layers
            for start in range(0, len(layer.units), CHUNK)
        ]

    def _layers(self) -> list[_Layer]:
        network, options = self.look.network, self.options
        chosen = {name: network.layers.tensor(name) for name in options.layer}
        if not chosen or len(set(chosen.values())) < len(options.layer):
            raise Error(f"layer: different layers are accepted, at least one, got {', '.join(options.layer) or 'none'}")
        part = specialise(cut(network.model, list(chosen.values())), (1, 3, self.size, self.size))
        seen = fields(part)
        taken: set[str] = set()
        made = []
        for name, tensor in chosen.items():
            shape = shape_of(network, tensor, (self.size, self.size))
            if len(shape) not in (2, 4):
                raise Error(f"layer {name} has shape {shape}; a layer (N,C,h,w) or (N,C) is accepted")
            check_units(options.unit or (), shape[1], name)
            units = list(options.unit or range(shape[1]))
            columns = shape[3] if len(shape) == 4 else 1
            top = Top.empty(shape[1], options.top)
            made.append(_Layer(name, tensor, seen[tensor], columns, units, top, f"units/{slug(name, taken)}"))
        return made

    def _settings(self) -> dict[str, str | int | list[str] | list[int] | None]:
        options, network = self.options, self.look.network
        return {
            "network": network.name,
            "weights": digest(network),
            "pictures": str(self.folder.root.resolve()),
            "pictures' names, sizes and times": self.folder.fingerprint(),
            "layer": [layer.name for layer in self.layers],
            "unit": list(options.unit) if options.unit else None,
            "rule": options.rule,
            "size": self.size,
            "top": options.top,
            "batch": options.batch,
            "convolution": "winograd" if uses_winograd(options.convolution) else "direct",
        }

    def run(self) -> Report:
        self._restore()
        self._pass()
        self._project()
        described = self._described()
        self.directory.write_json("maxima.json", described)
        title = f"{self.look.network.name}: {', '.join(layer.name for layer in self.layers)}"
        write_page(self.directory.path / "index.html", "units", title, described)
        self.directory.finish()
        units = sum(len(layer.units) for layer in self.layers)
        whole = len(self.folder.names) - len(self.skipped)
        summary = f"{units} units of {', '.join(layer.name for layer in self.layers)} over {whole} pictures"
        return Report(self.directory.path, summary, tuple(described["notes"]))

    def _restore(self) -> None:
        """Go on from what a stopped run left."""
        state = self.directory.state() if self.directory.path.is_dir() else None
        if state is None:
            return
        self.directory.claim()  # what was half-written goes
        for index, layer in enumerate(self.layers):
            layer.top = Top(*(state[f"{index}:{name}"] for name in layer.top.arrays()))
        self.done, self.projected = int(state["done"]), int(state["projected"])
        reasons = (str(reason) for reason in state["reasons"])
        self.skipped = dict(zip(map(int, state["skipped"]), reasons, strict=True))

    def _save(self) -> None:
        arrays: dict[str, NDArray[Any]] = {
            f"{index}:{name}": values
            for index, layer in enumerate(self.layers)
            for name, values in layer.top.arrays().items()
        }
        arrays |= {"done": np.array(self.done), "projected": np.array(self.projected)}
        arrays |= {
            "skipped": np.array(list(self.skipped), np.int64),
            "reasons": np.array(list(self.skipped.values()), str),
        }
        self.directory.save(arrays)

    def _pass(self) -> None:
        """The maxima over all pictures."""
        total = len(self.folder.names)
        if self.done >= total:
            return
        length = self.options.batch
        tensors = {layer.name: layer.tensor for layer in self.layers}
        workers, threads = side_by_side(self.look.threads)
        shape = (1, 3, self.size, self.size)
        network = LayerPass(self.look.network, tensors, shape, threads, self.options.convolution)
        claimed, saved = False, time.monotonic()
        try:
            for found in scanned(self.folder, network, length, self.done, workers):
                self._add(found)
                claimed = claimed or self._claim()
                if claimed and time.monotonic() - saved > EVERY:
                    self._save()
                    saved = time.monotonic()
                self.callback(Step("pictures", self.done, total))
        except KeyboardInterrupt:
            if claimed:
                self._save()
            raise
        if not claimed:
            first, why = next(iter(self.skipped.items()))
            raise Error(f"none of {total} pictures can be used; {self.folder.names[first]}: {why}")
        self._save()

    def _claim(self) -> bool:
        """Make the directory as soon as there is a picture to report on."""
        if len(self.skipped) == self.done:
            return False
        self.directory.claim()
        return True

    def _add(self, found: Found) -> None:
        self.skipped |= found.broken
        names = [self.folder.names[number] for number in found.numbers]
        for layer in self.layers if found.numbers else ():
            values, places = found.peaks[layer.name]
            check_finite(values, layer.name, names)
            layer.top.add(values, places, found.numbers)
        self.done = found.done

    def _project(self) -> None:
        """The projections, chunk by chunk; a chunk's pictures are written before it counts as done."""
        total = [sum(len(layer.top.positive(unit)) for unit in units) for layer, units in self.chunks]
        before = sum(total[: self.projected])
        projector: tuple[str, Projector] | None = None
        for number in range(self.projected, len(self.chunks)):
            layer, units = self.chunks[number]
            if projector is None or projector[0] != layer.name:
                projector = None  # the old one's memory goes first
                made = Projector(
                    self.look.network, layer.tensor, self.size, self.options.rule, self.options.batch, **self.look.ways
                )
                projector = (layer.name, made)
            self._write(layer, units, self._tiles(layer, units, projector[1], before, sum(total)))
            before += total[number]
            self.projected = number + 1
            self._save()

    def _tiles(self, layer: _Layer, units: list[int], projector: Projector, done: int, total: int) -> "_Tiles":
        """Patches and projections of some units, by unit and rank."""
        top = layer.top
        wanted: dict[int, list[Kept[tuple[int, int]]]] = {}
        for unit in units:
            for rank in top.positive(unit):
                kept = Kept((unit, rank), unit, int(top.places[unit, rank]), float(top.values[unit, rank]))
                wanted.setdefault(int(top.numbers[unit, rank]), []).append(kept)
        found = _Tiles({}, {})
        for count, ((unit, rank), projection) in enumerate(
            projector.run(self._looked(layer, sorted(wanted.items()), found)), 1
        ):
            seen = self._box(layer, unit, rank)
            found.projections[unit, rank] = tile(stretched(cropped(projection, seen, edge=False)))
            self.callback(Step("projections", done + count, total))
        return found

    def _looked(
        self, layer: _Layer, wanted: list[tuple[int, list[Kept[tuple[int, int]]]]], found: "_Tiles"
    ) -> Iterator[tuple[Array, list[Kept[tuple[int, int]]]]]:
        """The pictures, read ahead, with what is kept of each; their patches are cut on the way."""
        squares = ahead(partial(self._square, number) for number, _ in wanted)
        for (_, several), square in zip(wanted, squares, strict=True):
            for kept in several:
                unit, rank = kept.tag
                found.patches[unit, rank] = tile(cropped(square, self._box(layer, unit, rank), edge=True))
            yield square[None], several

    def _square(self, number: int) -> Array:
        try:
            return self.folder.squares(number, [self.size])[self.size]
        except Error as problem:
            raise Error(f"{problem}; it was whole when its maxima were looked for") from problem

    def _box(self, layer: _Layer, unit: int, rank: int) -> Box:
        return box(layer.seen, int(layer.top.places[unit, rank]), layer.columns, self.size)

    def _write(self, layer: _Layer, units: list[int], found: "_Tiles") -> None:
        """The pictures of a chunk: two a unit for the page, and a sheet."""
        folder = self.directory.folder(layer.folder)
        blocks, labels = [], []
        for unit in units:
            for what, tiles in (("projections", found.projections), ("patches", found.patches)):
                made = _block([tiles[unit, rank] for rank in layer.top.positive(unit)], self._room())
                if made is not None:
                    picture_files.write(folder / f"{unit:04d}-{what}.jpg", made)
                shown = np.ones((SHEET_BLOCK, SHEET_BLOCK, 3), np.float32) if made is None else _fitted(made)
                blocks.append(shown)
                labels.append(f"{unit}" if what == "projections" else "" if made is not None else "never above 0")
        sheets = self.directory.folder("sheets")
        name = f"{Path(layer.folder).name}-{units[0]:04d}.png"
        title = f"{self.look.network.name} {layer.name}, {self.options.rule}"
        picture_files.write(sheets / name, sheet(blocks, SHEET_COLUMNS, labels, title=title))

    def _described(self) -> dict[str, Any]:
        """Everything, for maxima.json and the page."""
        names = self.folder.names
        return {
            "network": self.look.network.name,
            "rule": self.options.rule,
            "size": self.size,
            "top": self.options.top,
            "pictures": len(names) - len(self.skipped),
            "folder": plain(str(self.folder.root)),
            "notes": self._notes(),
            "skipped": skipped(names, self.skipped),
            "layers": [
                {
                    "name": layer.name,
                    "folder": layer.folder,
                    "units": [self._unit(layer, unit) for unit in layer.units],
                }
                for layer in self.layers
            ],
        }

    def _unit(self, layer: _Layer, unit: int) -> dict[str, Any]:
        top = layer.top
        entries = []
        for rank in top.positive(unit):
            seen = self._box(layer, unit, rank)
            place = int(top.places[unit, rank])
            entries.append(
                {
                    "picture": plain(self.folder.names[int(top.numbers[unit, rank])]),
                    "activation": float(top.values[unit, rank]),
                    "at": list(divmod(place, layer.columns)) if layer.seen.stride else None,
                    "box": [seen.top, seen.left, seen.height, seen.width],
                }
            )
        return {"unit": unit, "fired": int(top.fired[unit]), "size": self._sides(layer), "top": entries}

    def _room(self) -> int:
        """How many pictures a unit can have."""
        return min(self.options.top, len(self.folder.names) - len(self.skipped))

    def _sides(self, layer: _Layer) -> list[int]:
        """Width and height of a unit's block, so that the page does not jump when it is loaded."""
        seen = box(layer.seen, 0, layer.columns, self.size)
        one = tile(np.zeros((seen.height, seen.width, 3), np.float32))
        made = _block([one], self._room())
        return [0, 0] if made is None else [made.shape[1], made.shape[0]]

    def _notes(self) -> list[str]:
        notes = list(self.look.notes)
        notes += skipped_note(self.folder.names, self.skipped, "maxima.json")
        for layer in self.layers:
            dead = sum(not layer.top.fired[unit] for unit in layer.units)
            if dead:
                notes.append(f"{dead} of {len(layer.units)} units of {layer.name} were above 0 on none of the pictures")
        return notes


@dataclass
class _Tiles:
    """By (unit, rank)."""

    patches: dict[tuple[int, int], Bytes]
    projections: dict[tuple[int, int], Bytes]


def _block(tiles: list[Bytes], count: int) -> Array | None:
    """The tiles in a square with room for `count`; None without any."""
    if not tiles:
        return None
    blank = [np.full_like(tiles[0], 255)] * (count - len(tiles))
    return block([*tiles, *blank], int(np.ceil(np.sqrt(count))))


def _fitted(rgb: Array) -> Array:
    height, width = rgb.shape[:2]
    return picture_files.resized(rgb, picture_files.fitted(height, width, SHEET_BLOCK))
