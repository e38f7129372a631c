"""Stylize: paint the content picture in the style of one or several others (Gatys, Ecker and Bethge 2016).

min over x of  w_c · mean_l content_l(x, content) + w_s · mean_l style_l(x, styles) + w_tv · TV(x)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from pydantic import AfterValidator, BeforeValidator, Field
from stylogram_export.beside import Beside

from .. import devices, losses, zoo
from ..devices import graphs
from ..devices import sessions as gpu
from ..driver import Callback, Outcome, Stage, run
from ..errors import Error, one_of
from ..options import LayerWeights, Numbers, RunOptions, Weight, checked, named
from ..painting import Painting
from ..recipes import PRESETS, Recipe
from ..result import Result
from ..session import Array, Extractor, Shape, available_threads, features_of
from ..stages import StagedPass
from ..subject import STARTS, Picture, Subject

TILES = (16, 65536)  # pixels, the least and the most
_Mask = str | Path | np.ndarray
ARGUMENTS = {"content": False, "style": True}  # the name, and whether several are taken


def _preset(value: Any) -> str:
    if not isinstance(value, str) or value not in PRESETS:
        raise one_of("preset", str(value), PRESETS)
    return value


def _tile(value: Any) -> Any:
    """`auto`, a number of pixels, or None."""
    if value is None or value == "auto":
        return value
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not TILES[0] <= number <= TILES[1]:
        raise Error(f"auto or a number of pixels from {TILES[0]} to {TILES[1]} is accepted, got {value!r}")
    return number


def _pairs(value: Any) -> Any:
    several = value if isinstance(value, list | tuple) else (value,)
    for pair in several:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Error(f"a list of pairs (CONTENT_MASK, STYLE_MASK) is accepted, got {named(pair)} for a pair")
    return tuple(several)


def _directory(value: Path | None) -> Path | None:
    if value is not None and not value.is_dir():
        raise Error(f"a directory is accepted, got {str(value)!r}")
    return value


class Options(RunOptions):
    """What `stylize` takes beside the pictures. What is None comes from the preset."""

    preset: Annotated[str, BeforeValidator(_preset)] = Field("default", title="NAME", description=", ".join(PRESETS))
    content_layers: LayerWeights | None = Field(
        None, title="A=2,B=1", description="layers, and their weights if not equal"
    )
    style_layers: LayerWeights | None = Field(
        None, title="A=2,B=1", description="layers, and their weights if not equal"
    )
    content_weight: Weight | None = Field(None, title="X", description="weight of the content loss")
    style_weight: Weight | None = Field(
        None, title="X", description="weight of the style loss, shared among its layers"
    )
    tv_weight: Weight | None = Field(None, title="X", description="weight of the total variation: smoothness")
    style_loss: str | None = Field(
        None, title="NAME", description=f"the loss on style layers: {', '.join(losses.names('style'))}"
    )
    style_blend: Numbers | None = Field(None, title="1,2", description="how much of each style; scaled to sum to 1")
    style_scale: float = Field(
        1.0, gt=0.05, le=20, title="X", description="size of the style's strokes: its size over the picture's"
    )
    keep_colors: Literal["luminance", "histogram", "linear"] | None = Field(
        None, description="colours of the content: only luminance is painted, or the style is recoloured first"
    )
    init: str | Path | np.ndarray | None = Field(
        None, title="content|random|FILE", description="content, random, or a picture's file"
    )
    init_noise: float | None = Field(
        None, ge=0, le=1, title="X", description="part of noise that is mixed into the initial picture"
    )
    margin: int | None = Field(
        None, ge=0, le=256, title="N", description="pixels beyond each side, optimised and cut off: no hazy frame"
    )
    precondition: float | None = Field(
        None, ge=1, le=4, title="X", description="how much further coarse structures move, each doubling; 1: no further"
    )
    scales: int | None = Field(
        None, ge=1, le=8, title="N", description="coarse to fine: so many sizes, each twice the one before"
    )
    device: Annotated[str, BeforeValidator(devices.check_device)] = Field(
        "cpu", title="NAME", description="where it runs: auto, cpu, cuda, cuda:N or tensorrt"
    )
    precision: Annotated[str, BeforeValidator(devices.check_precision)] = Field(
        "fp32", title="NAME", description=f"numbers of the network on a GPU: {', '.join(devices.PRECISIONS)}"
    )
    tile: Annotated[int | str | None, BeforeValidator(_tile)] = Field(
        None,
        title="auto|N",
        description="a picture larger than memory, in tiles of N pixels a side, exactly; auto: as memory asks for",
    )
    scratch: Annotated[Path | None, AfterValidator(_directory)] = Field(
        None,
        title="DIR",
        description="keep L-BFGS's history, and with --tile the content's features, in files below this directory",
    )
    mask: Annotated[tuple[tuple[_Mask, _Mask], ...], BeforeValidator(_pairs)] = Field(
        (),
        title="CONTENT_MASK STYLE_MASK",
        description="paint the white of the one from the white of the other; repeatable",
    )

    def recipe(self) -> Recipe:
        """The preset's recipe with what was given put over it."""
        recipe = PRESETS[self.preset]
        names = ("content_weight", "style_weight", "tv_weight", "style_loss", "init_noise", "pooling", "size", "margin")
        over: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if isinstance(self.init, str) and self.init in STARTS:
            over["init"] = self.init
        over["iterations"] = recipe.iterations_of(self.scales or recipe.scales(over), self.iterations)
        if self.margin is None and len(over["iterations"]) == 1:
            over["margin"] = 0
        # What a narrow network's gradients have not, pairs need not keep.
        pairs = {"history_precision": "float16"} if self.precision in graphs.NARROW else {}
        chosen = pairs | self.of_optimiser() | {"scratch": self.scratch}
        if self.precondition is not None:
            chosen["precondition"] = self.precondition
        if self.optimizer not in (None, recipe.optimiser.name):  # another optimiser's rate and decay mean nothing here
            chosen = {"learning_rate": None, "decay": 1.0, "precondition": 1.0, **chosen}
        if recipe.clamp and (self.precondition or 1) > 1:
            raise Error(
                f"precondition: 1 is accepted with the preset {self.preset}, which clips the picture after every step; "
                f"got {self.precondition:g}"
            )
        return replace(recipe, **over, optimiser=replace(recipe.optimiser, **chosen))


def stylize(
    content: Picture, style: Picture | Sequence[Picture], *, callback: Callback | None = None, **options: Any
) -> Result:
    """Paint `content` in the style of `style`.

    Pictures are paths or arrays (H,W,3) RGB, uint8 or float in [0,1]; `style` may be a list of them. `options` are the
    fields of Options, by the command line's names (`style_weight=100`). `callback` is given a Progress after every
    iteration; it may raise KeyboardInterrupt to stop. Raises Error for bad input; Diverged, an Error, when the loss is
    no longer a number; Interrupted on Ctrl-C: both hold what there is as `.result`.
    """
    styles: list[Picture] = list(style) if isinstance(style, list | tuple) else [style]  # type: ignore[list-item]
    work = Stylization(content, styles, checked(Options, options))
    stages = [partial(work.stage, index) for index in range(len(work.sizes))]
    tolerance = work.options.tolerance
    return run(stages, len(stages), work.result, threads=work.threads, callback=callback, tolerance=tolerance)


class Stylization(Painting):
    """One call of stylize: the pictures and the network, and a stage for each scale."""

    def __init__(self, content: Picture, styles: Sequence[Picture], options: Options) -> None:
        self.options = options
        self.notes: list[str] = []
        self.threads = min(options.threads or available_threads(), available_threads())
        if options.threads > self.threads:
            self.notes.append(f"--threads {options.threads}: {self.threads} are used, as many as there are processors")
        tiled = options.tile is not None
        chosen = devices.choose("cpu" if tiled and options.device == "auto" else options.device, options.precision)
        self.place = chosen.place
        self.notes += [chosen.note] if chosen.note else []
        if self.place is not None and tiled:
            raise Error(f"tile: on a GPU the picture is taken as a whole, got --device {options.device}; accepted: cpu")
        subject = Subject(content, styles, options)
        network = zoo.resolve(options.network, options.preprocess, subject.recipe.pooling, options.seed)
        subject.choose(network)
        self.taps = subject.taps
        self._style_tensors = [tensor for _, tensor, _ in self.taps.style]
        self._constants = Beside()
        self._early: gpu.DevicePass | None = None
        with self._constants:
            if self.place is not None:
                network = replace(network, model=self._constants.thinned(network.model))
            self.model = [self.taps.model(network, subject.recipe.pixel_range)]
        self._computing: dict[str, Any] = {"threads": self.threads, "convolution": options.convolution}
        super().__init__([subject])

    @property
    def graph(self) -> onnx.ModelProto:
        return self.model[0]

    def stage(self, index: int, before: Array | None) -> Stage:
        """One scale. On a GPU styles of the very shape of the picture go through its sessions, which come first."""
        shape = self.shape(index)
        if self.place is not None and all(style.batches[index].shape == shape for style in self.subjects[0].styles):
            self._early = self._on_gpu(shape, self.place)
        try:
            return super().stage(index, before)
        finally:
            self._early = None
            if index == len(self.sizes) - 1:
                self._constants.clear()

    def feature_pass(self, index: int, shape: Shape) -> StagedPass | gpu.DevicePass:
        if self.place is not None:
            return self._early or self._on_gpu(shape, self.place)
        # For the last scale the graph is handed out for good, and the copy of its weights with it.
        model = self.model.pop() if index == len(self.sizes) - 1 else self.model[0]
        return StagedPass(model, self.taps.tensors, shape, **self._computing)

    def _on_gpu(self, shape: Shape, place: graphs.Place) -> gpu.DevicePass:
        with self._constants:
            return gpu.DevicePass(self.model[0], self.taps.tensors, shape, place)

    def features(self, picture: Array) -> Mapping[str, Any]:
        if self.place is not None:
            if self._early is not None:
                found = self._early.features_of(self._style_tensors, picture)
            else:
                with self._constants:
                    found = gpu.features_of(self.model[0], self._style_tensors, picture, self.place)
            return gpu.wanted(found, self.recipe.style_loss)
        return features_of(self.model[0], self._style_tensors, picture, **self._computing)

    def extractor(self, shape: Shape) -> Extractor:
        return Extractor(self.model[0], self._style_tensors, shape, **self._computing)

    def result(self, outcome: Outcome) -> Result:
        """The picture at the last scale's size, in the colours that were asked for."""
        return self.subjects[0].result(outcome.pictures[0], outcome.trace, self.notes)
