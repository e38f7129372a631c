"""Compare: several networks, or checkpoints of one, on the same pictures: what fires, what is dead, what changes.

Zeiler and Fergus 2014, figure 4 (how features evolve in training) and figure 6 with section 4.1 (first-layer filters
and dead ones of two architectures). A filter is dead if its maximum over the pictures is not above 0 after its ReLU,
nearly dead if it is above 0 on under 1% of them. Layers settle when their units' activations correlate with those of
the last checkpoint, 0.9 or more from there on.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from stylogram_export.graph import needed
from stylogram_export.network import Network

from .. import pictures as picture_files
from .. import responses
from ..errors import Error
from ..evolution import Projections, Strips, settling
from ..filters import FirstLayer
from ..folder import Folder, batches
from ..looking import Looking
from ..maxima import LayerNames, digest, square_size
from ..options import NetworkOptions, check_callback, check_path, checked, named
from ..report import Report, Step
from ..report.directory import ReportDirectory, plain, skipped, skipped_note, slug
from ..report.page import write_page
from ..responses import Counts, Seen
from ..session import uses_winograd
from ..units import SIDE, Units, check_units

ARGUMENTS = {"networks": True}
REPORT = True
EVERY = 2.0  # seconds between two states on the disk
FIRST_UNITS = 16  # of each layer, in the evolution, if none are named

Callback = Callable[[Step], None]


class Options(NetworkOptions):
    """What `compare` takes beside the networks and the report's directory."""

    network: ClassVar[None] = None  # type: ignore[misc]  # they are arguments
    pictures: str | Path = Field(title="DIR", description="the folder of pictures that all networks are shown")
    preprocess: str | None = Field(
        None, title="NAME", description="imagenet, caffe or unit: for all, or one for each joined by commas"
    )
    layer: LayerNames | None = Field(None, title="A,B", description="layers; all of each network if not given")
    unit: Units | None = Field(
        None, title="1,2,5-9", description=f"units in the evolution; the first {FIRST_UNITS} of each layer if not given"
    )
    rule: Literal["deconvnet", "guided", "gradient"] = Field("deconvnet", description="what a ReLU passes back")
    size: int | None = Field(
        None, ge=16, le=4096, title="PIXELS",
        description=f"side of the squares that the pictures become; each network's own, or {SIDE}, if not given",
    )  # fmt: skip
    batch: int = Field(8, ge=1, le=256, title="N", description="pictures, and units, in one pass: speed against memory")


def compare(
    networks: Sequence[str | Path | Network], *, output: str | Path, callback: Callback | None = None, **options: Any
) -> Report:
    """Write a report into the directory `output` on `networks`: names, files or Networks; checkpoints in their order.

    `options` are the fields of Options. `callback` is given a Step now and then; it may raise KeyboardInterrupt to
    stop: the same call then goes on where it was. Raises Error for bad input, before anything is written.
    """
    check_path("output", output)
    check_callback(callback, "Step")
    chosen = checked(Options, options)
    if not isinstance(networks, str | Path | Network | list | tuple):
        raise Error(f"networks: names, files or Networks are accepted, got {named(networks)}")
    several = [networks] if isinstance(networks, str | Path | Network) else list(networks)
    if not several:
        raise Error("networks: at least one is needed, got none")
    return _Comparison(several, output, chosen, callback or (lambda _step: None)).run()


class _Comparison:
    def __init__(
        self, networks: Sequence[str | Path | Network], output: str | Path, options: Options, callback: Callback
    ) -> None:
        self.options, self.callback = options, callback
        self.folder = Folder.scan(options.pictures)
        self.notes: list[str] = []
        self.networks = self._networks(networks)
        self.evolving = self._evolving()
        self.sides: list[tuple[int, int]] = []  # width and height of the strips of the layers that are projected
        self.directory = ReportDirectory(output, "stylogram compare", self._settings(), self.folder.root)

    def _networks(self, networks: Sequence[str | Path | Network]) -> list[Seen]:
        chosen = self._preprocessings(len(networks))
        made: list[Seen] = []
        for spec, preprocess in zip(networks, chosen, strict=True):
            own = checked(NetworkOptions, {
                "network": spec, "preprocess": preprocess, "pooling": self.options.pooling,
                "device": self.options.device, "threads": self.options.threads,
                "convolution": self.options.convolution, "seed": self.options.seed,
            })  # fmt: skip
            look = Looking(own)
            self.notes += [note for note in look.notes if note not in self.notes]
            layers = look.network.layers
            names = self.options.layer or tuple(layers.names)
            label, number = look.network.name, 1
            while label in {seen.label for seen in made}:
                number += 1
                label = f"{look.network.name} ({number})"
            size = square_size(look.network, self.options.size)
            tensors = {name: layers.tensor(name) for name in names}
            made.append(Seen(label, look.network, size, look.threads, tensors, own.convolution))
        return made

    def _preprocessings(self, count: int) -> list[str | None]:
        given = self.options.preprocess
        if given is None:
            return [None] * count
        names: list[str | None] = [part.strip() for part in given.split(",")]
        if len(names) not in (1, count):
            raise Error(f"preprocess: one name, or one for each of {count} networks, is accepted, got {given!r}")
        return names * count if len(names) == 1 else names

    def _evolving(self) -> list[str]:
        """The layers to follow from one checkpoint to the next; none for networks that are no checkpoints of one.

        Checkpoints have the same ops, layers and size. Of their layers those are followed whose weights, up to there,
        have the same shapes: seednet's whitened layers keep as many directions as a training left them.
        """
        first, *others = self.networks
        found: list[str] = []
        if others and len({_operators(seen) for seen in self.networks}) == 1:
            found = [layer for layer in first.layers if len({_shapes(seen, layer) for seen in self.networks}) == 1]
        if found and (apart := [layer for layer in first.layers if layer not in found]):
            self.notes.append(f"no evolution of {', '.join(apart)}: the networks' weights differ in shape there")
        if not others and self.options.unit:
            raise Error("unit: it is for several checkpoints of one architecture, got one network")
        if not found and self.options.unit:
            raise Error("unit: it is for checkpoints of one architecture, and these networks differ")
        return found

    def _settings(self) -> dict[str, str | int | list[str] | list[int] | None]:
        options = self.options
        return {
            "networks": [seen.label for seen in self.networks],
            "weights": [digest(seen.network) for seen in self.networks],
            "pictures": str(self.folder.root.resolve()),
            "pictures' names, sizes and times": self.folder.fingerprint(),
            "layer": list(options.layer) if options.layer else None,
            "unit": list(options.unit) if options.unit else None,
            "rule": options.rule,
            "size": [seen.size for seen in self.networks],
            "batch": options.batch,
            "convolution": "winograd" if uses_winograd(options.convolution) else "direct",
        }

    def run(self) -> Report:
        self._count()
        described = {**self._described(), "evolution": self._evolution()}
        self.directory.write_json("comparison.json", described)
        title = "Comparison: " + ", ".join(seen.label for seen in self.networks)
        write_page(self.directory.path / "index.html", "compare", title, described)
        self.directory.finish()
        count = len(self.folder.names) - len(self.counts.skipped)
        return Report(self.directory.path, f"{len(self.networks)} networks over {count} pictures", tuple(self.notes))

    def _count(self) -> None:
        """Every picture through every network, once; from where a stopped run was."""
        passes = [seen.open(self.options.batch) for seen in self.networks]
        for layer in self.evolving:
            check_units(self.options.unit or (), passes[0].shapes[layer][0], layer)
        self.counts = Counts(self.networks, passes, self.evolving)
        claimed, names = self._restore(), self.folder.names
        saved = time.monotonic()
        try:
            for batch in batches(self.folder, self._sizes(), self.options.batch, self.counts.done):
                self.counts.add(batch, passes, names)
                if not claimed and len(self.counts.skipped) < self.counts.done:
                    self.directory.claim()  # as soon as there is a picture to report on
                    claimed = True
                if claimed and time.monotonic() - saved > EVERY:
                    self._save()
                    saved = time.monotonic()
                self.callback(Step("pictures", self.counts.done, len(names)))
        except KeyboardInterrupt:
            if claimed:
                self._save()
            raise
        if not claimed:
            first, why = next(iter(self.counts.skipped.items()))
            raise Error(f"none of {len(names)} pictures can be used; {names[first]}: {why}")
        self._save()

    def _sizes(self) -> list[int]:
        return [seen.size for seen in self.networks]

    def _restore(self) -> bool:
        """Whether there is a stopped run to go on from."""
        state = self.directory.state() if self.directory.path.is_dir() else None
        if state is None:
            return False
        self.directory.claim()  # what was half-written goes
        self.sides = [(int(width), int(height)) for width, height in state.pop("sides")]
        self.counts.restore(state)
        return True

    def _save(self) -> None:
        sides = np.array(self.sides, np.int64).reshape(-1, 2)
        self.directory.save({**self.counts.arrays(), "sides": sides})

    def _evolution(self) -> dict[str, Any] | None:
        """What the page and the JSON say of it; None for networks that are no checkpoints of one architecture."""
        if not self.evolving:
            return None
        correlations = self.counts.correlations
        units = {
            layer: list(self.options.unit or range(min(FIRST_UNITS, len(self.networks[0].top[layer].fired))))
            for layer in correlations
        }
        way = Projections(self.folder, self.networks, self.options.rule, self.options.batch)
        strips = Strips(way, self.directory, units, self.callback)
        for layer in correlations:
            if len(strips.folders) < len(self.sides):  # a run that was stopped has made them
                strips.skip(layer)
                continue
            self.sides.append(strips.write(layer))
            self._save()
        layers = [
            {**strips.described(layer, sides), **settling(correlations[layer])}
            for layer, sides in zip(correlations, self.sides, strict=True)
        ]
        return {"checkpoints": [seen.label for seen in self.networks], "layers": layers, "bound": responses.SETTLED}

    def _described(self) -> dict[str, Any]:
        """The figures, and the first layers' filters as pictures."""
        count = len(self.folder.names) - len(self.counts.skipped)
        self.notes += skipped_note(self.folder.names, self.counts.skipped, "comparison.json")
        if count * responses.RARE <= 1:
            self.notes.append(f"of {count} pictures one is 1% or more: no filter can be nearly dead")
        taken: set[str] = set()
        networks = [self._network(seen, slug(seen.label, taken), count) for seen in self.networks]
        return {
            "rule": self.options.rule,
            "pictures": count,
            "folder": plain(str(self.folder.root)),
            "notes": self.notes,
            "skipped": skipped(self.folder.names, self.counts.skipped),
            "bins": {"low": responses.LOW, "high": responses.HIGH, "fine": responses.FINE},
            "networks": networks,
        }

    def _network(self, seen: Seen, stem: str, count: int) -> dict[str, Any]:
        first, filters = FirstLayer.of(seen.network), None
        if first is not None:
            path = self.directory.folder("filters") / f"{stem}.png"
            made = first.picture()
            picture_files.write(path, made)
            filters = {"picture": f"filters/{stem}.png", "label": first.label, "size": [made.shape[1], made.shape[0]]}
        return {
            "label": seen.label,
            "size": seen.size,
            "filters": filters,
            "layers": [self._layer(seen, layer, count) for layer in seen.layers],
        }

    def _layer(self, seen: Seen, layer: str, count: int) -> dict[str, Any]:
        top = seen.top[layer]
        shares, zeros, negatives = seen.histograms[layer].shares
        dead = np.flatnonzero(top.fired == 0)
        nearly = np.flatnonzero((top.fired > 0) & (top.fired < responses.RARE * count))
        return {
            "name": layer,
            "units": len(top.fired),
            "dead": dead.tolist(),
            "nearly_dead": nearly.tolist(),
            "fired": top.fired.tolist(),
            "histogram": [round(share, 6) for share in shares],
            "zeros": zeros,
            "negatives": negatives,
        }


def _operators(seen: Seen) -> tuple[Any, ...]:
    """What is to be the same in checkpoints: the ops up to the layers that are looked at, the layers, the size."""
    nodes, _ = needed(list(seen.network.model.graph.node), seen.layers.values())
    return tuple(node.op_type for node in nodes), tuple(seen.layers), seen.size


def _shapes(seen: Seen, layer: str) -> tuple[tuple[int, ...], ...]:
    """Those of all weights that a layer depends on."""
    graph = seen.network.model.graph
    _, read = needed(list(graph.node), [seen.layers[layer]])
    return tuple(tuple(tensor.dims) for tensor in graph.initializer if tensor.name in read)
