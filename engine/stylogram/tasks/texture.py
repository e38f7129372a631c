"""Texture: a picture of any size with the texture of another one (Gatys, Ecker and Bethge 2015).

min over x of  Σ_l w_l · ‖G_l(x) − A_l‖² + w_tv · TV(x),  G = F Fᵀ / (h w), min(source) <= x <= max(source), from noise

"Texture synthesis using convolutional neural networks", equations 1 to 4.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator
from pydantic import Field as Option
from stylogram_export.graph import cut
from stylogram_export.receptive import Field, fields

from .. import colour, losses, pictures
from ..bounds import Clipped
from ..driver import Callback, Outcome, Stage, run, shown
from ..errors import Error, one_of
from ..initial import NOISES
from ..looking import Looking
from ..objective import FeatureTerm, Objective, PictureTerm
from ..optimise import OPTIMISERS, Settings
from ..options import LayerWeights, RunOptions, Weight, checked
from ..recipes import Recipe
from ..result import Result
from ..session import Array, features_of, give_back
from ..stages import StagedPass
from ..taps import Taps
from ..wrapping import period, wrapped

Picture = str | Path | NDArray[Any]
Size = tuple[int, int]

ARGUMENTS = {"source": False}
COARSE = 64  # the least short side, in pixels, of a texture's first scale, unless more scales are asked for
LARGEST = 512  # long side that a source is brought to if no other is asked for

PRESETS: Mapping[str, Recipe] = {
    "default": Recipe(
        "scale-free losses, L-BFGS from noise, coarse to fine",
        content_weight=0.0,
        tv_weight=0.0,
        init="random",
        iterations=(300,),
        coarsest=(128, 128),
        margin=8,
    ),
    # github.com/leongatys/DeepTextures
    "gatys": Recipe(
        "the program of the paper",
        expects="caffe",
        style_layers=("conv1_1", "pool1", "pool2", "pool3", "pool4"),
        content_weight=0.0,
        style_weight=1e9 * 5,  # 1e9 on every layer; our style weight is shared among the layers
        tv_weight=0.0,
        style_normalization="quarter",
        pooling="avg",
        pixel_range=255.0,
        init="random",
        noise="normal",
        iterations=(2000,),
        optimiser=Settings(history=20),
    ),
}


def _preset(value: Any) -> str:
    if not isinstance(value, str) or value not in PRESETS:
        raise one_of("preset", str(value), PRESETS)
    return value


def _size(value: Any) -> Any:
    """512 or "512": the long side; "640x400": (400, 640), rows first as everywhere inside."""
    found = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", value) if isinstance(value, str) else None
    sides = [int(found[2]), int(found[1])] if found else [value]
    for side in sides:
        number = int(side) if isinstance(side, str) and side.strip().isdecimal() else side
        if isinstance(number, bool) or not isinstance(number, int) or not pictures.MIN_SIDE <= number <= 65536:
            raise Error(f"pixels, or WIDTHxHEIGHT, from {pictures.MIN_SIDE} to 65536 are accepted, got {value!r}")
    return tuple(sides) if found else int(value)


class Options(RunOptions):
    """What `texture` takes beside the source. What is None comes from the preset."""

    preset: Annotated[str, BeforeValidator(_preset)] = Option("default", title="NAME", description=", ".join(PRESETS))
    size: Annotated[Size | int, BeforeValidator(_size)] | None = Option(  # type: ignore[assignment]  # both sides too
        None, title="PIXELS|WIDTHxHEIGHT", description="of the texture: the long side, in the source's aspect, or both"
    )
    source_size: int | None = Option(
        None, ge=16, le=65536, title="PIXELS", description=f"long side of the source: its own, at most {LARGEST}"
    )
    style_layers: LayerWeights | None = Option(
        None, title="A=2,B=1", description="layers, and their weights if not equal"
    )
    style_loss: str | None = Option(
        None, title="NAME", description=f"the loss on the layers: {', '.join(losses.names('style'))}"
    )
    tv_weight: Weight | None = Option(None, title="X", description="weight of the total variation: smoothness")
    scales: int | None = Option(
        None, ge=1, le=8, title="N", description="coarse to fine: so many sizes, each twice the one before"
    )
    margin: int | None = Option(
        None, ge=0, le=256, title="N", description="pixels beyond each side, optimised and cut off: no hazy frame"
    )
    tileable: bool = Option(False, description="the picture goes on beyond its edges at the opposite ones")
    histogram: bool = Option(False, description="give the texture the source's colour histograms at the end")

    def asked(self, source: Size) -> Size:
        """The texture's size for a source of that size."""
        return self.size if isinstance(self.size, tuple) else pictures.fitted(*source, self.size or max(source))

    def recipe(self, source: Size) -> Recipe:
        """The preset's recipe with what was given put over it, for a source of that size."""
        recipe = PRESETS[self.preset]
        names = ("tv_weight", "style_loss", "pooling", "margin")
        over: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        fitting = 1 + max(int(math.log(min(self.asked(source)) / COARSE, recipe.growth) + 1e-9), 0)
        scales = self.scales or min(recipe.scales({"size": max(source)}), fitting)
        over["iterations"] = recipe.iterations_of(scales, self.iterations)
        if self.tileable:
            if self.margin:
                raise Error(f"margin: a picture that tiles has no edge: 0 is accepted with tileable, got {self.margin}")
            over["margin"] = 0
        return replace(recipe, **over, optimiser=replace(recipe.optimiser, **self.of_optimiser()))


def texture(source: Picture, *, callback: Callback | None = None, **options: Any) -> Result:
    """Make a picture with the texture of `source`, a path or an array (H,W,3) RGB.

    `options` are the fields of Options, by the command line's names. Raises Error for bad input; Diverged, an Error,
    when the loss is no longer a number; Interrupted on Ctrl-C: both hold what there is as `.result`.
    """
    work = Synthesis(source, checked(Options, options))
    stages = [partial(work.stage, index) for index in range(len(work.sizes))]
    tolerance = work.options.tolerance
    return run(stages, len(stages), work.result, threads=work.threads, callback=callback, tolerance=tolerance)


@dataclass(frozen=True)
class Scale:
    """One scale: the rows and columns of the texture and of the source."""

    texture: Size
    source: Size


class Synthesis(Looking):
    """One call of texture: the source and the network, and a stage for each scale."""

    def __init__(self, source: Picture, options: Options) -> None:
        self.options = options
        self.source = pictures.read(source)
        height, width = self.source.rgb.shape[:2]
        side = options.source_size or min(max(height, width), LARGEST)
        try:
            whole = pictures.fitted(height, width, side)
        except Error as problem:
            raise Error(f"source-size: {problem}") from None
        self.recipe = options.recipe(whole)
        super().__init__(options.model_copy(update={"pooling": self.recipe.pooling}))
        self.taps = self._taps()
        self.notes = list(dict.fromkeys([*self.notes, *self.taps.notes]))
        self.model = self.taps.model(self.network, self.recipe.pixel_range)
        self.period = period(self.model, self.taps.tensors) if options.tileable else 1
        self.sizes = self._sizes(whole)

    def _taps(self) -> Taps:
        """The layers. A preset's are those of the network that it was made for: another may lack them."""
        given, layers = self.options.style_layers, self.recipe.style_layers
        try:
            return Taps.choose(self.network, self.recipe, None, given)
        except Error as problem:
            if given or not layers:
                raise
            hint = f"preset: {self.options.preset} takes {', '.join(layers)} of a VGG (--style-layers A,B: others)"
            raise Error(f"{hint}; {self.network.name}: {problem}") from problem

    def _sizes(self, source: Size) -> list[Scale]:
        """Those of every scale. What tiles is of whole periods; only sizes that nobody asked for are rounded."""
        asked, texture = self.options.size, self.options.asked(source)
        if asked is None or (isinstance(asked, int) and asked % self.period == 0):
            texture = self._whole(texture)
        count = len(self.recipe.iterations)
        shrink = [self.recipe.growth ** (count - 1 - index) for index in range(count)]
        coarse = [self._whole((round(texture[0] / by), round(texture[1] / by))) for by in shrink[:-1]]
        sources: list[Size] = []
        for by in reversed(shrink):
            try:
                sources.insert(0, pictures.fitted(*source, round(max(source) / by)))
            except Error:
                got = f"a source of {source[1]}x{source[0]} pixels is too small for {count} scales"
                accepted = f"at most {len(sources)}, or a larger --source-size"
                raise Error(f"scales: {got}; accepted: {accepted}") from None
        return [Scale(*pair) for pair in zip([*coarse, texture], sources, strict=True)]

    def _whole(self, size: Size) -> Size:
        """The nearest of whole periods, and of at least the least side that a picture may have."""
        least = -(-pictures.MIN_SIDE // self.period)
        rows, columns = (max(int(side / self.period + 0.5), least) * self.period for side in size)
        return rows, columns

    def stage(self, index: int, before: Array | None) -> Stage:
        """The objective and the optimiser of one scale; `before` (1,3,h,w) is the picture of the scale before."""
        scale, unit, margin = self.sizes[index], self.recipe.pixel_range, self.recipe.margin
        source = pictures.resized(self.source.rgb, scale.source)
        targets = self._targets(source)
        rows, columns = (side + 2 * margin for side in scale.texture)
        model = wrapped(self.model, self.taps.tensors, scale.texture) if self.options.tileable else self.model
        network = StagedPass(model, self.taps.tensors, (1, 3, rows, columns), **self.ways)
        give_back()
        network.picture[:] = self._initial((rows, columns), before)
        objective = Objective(network, self._terms(network, targets), self._picture_terms(network))
        settings = self.recipe.optimiser
        optimiser = Clipped(OPTIMISERS[settings.name](1, network.picture.size, settings), *self.bounds())
        return Stage(objective, optimiser, self.recipe.iterations[index], unit, margin=margin)

    def bounds(self) -> tuple[Array, Array]:
        """The least and the largest value (1,3,1,1) of the source's colours, in the pixels that are optimised."""
        pixels = self.source.rgb.reshape(-1, 3) * np.float32(self.recipe.pixel_range)
        return pixels.min(axis=0).reshape(1, 3, 1, 1), pixels.max(axis=0).reshape(1, 3, 1, 1)

    def _targets(self, source: Array) -> dict[str, Any]:
        """What the style loss aims at, by tensor.

        A picture that tiles has no edges, so that the source must show none either: it is continued by its mirror image
        there, and only what lies within it counts. Else its edges are the network's, as the texture's are.
        """
        module = losses.load("style", self.recipe.style_loss)
        seen = fields(cut(self.model, self.taps.tensors)) if self.options.tileable else {}
        beyond = _beyond(seen, self.taps.tensors, source.shape) if seen else 0
        around = np.pad(source, ((beyond,) * 2, (beyond,) * 2, (0, 0)), mode="reflect")
        batch = pictures.to_batch(around) * np.float32(self.recipe.pixel_range)
        features = features_of(self.model, self.taps.tensors, batch, **self.ways)
        return {
            tensor: module.target(values, _inside(seen[tensor], values.shape, source.shape, beyond) if seen else None)
            for tensor, values in features.items()
        }

    def _terms(self, network: StagedPass, targets: Mapping[str, Any]) -> Sequence[FeatureTerm]:
        module, recipe = losses.load("style", self.recipe.style_loss), self.recipe
        pixels = network.shape[2] * network.shape[3]
        return [
            module.Term(
                layer, tensor, network.features[tensor].shape, [(targets[tensor], 1.0)], weight * recipe.style_weight,
                recipe.style_normalization, pixels,
            )
            for layer, tensor, weight in self.taps.style
        ]  # fmt: skip

    def _picture_terms(self, network: StagedPass) -> Sequence[PictureTerm]:
        weight = self.recipe.tv_weight
        if not weight:
            return []
        if self.options.tileable:  # the mean of the squared differences, as the other form's "mean-squared"
            count = 2 * network.picture[0].size
            return [losses.load("picture", "tv-bordered").Term(network.shape, weight / count, 2.0, "wrap")]
        return [losses.load("picture", "tv").Term(network.shape, weight, self.recipe.tv)]

    def _initial(self, size: Size, before: Array | None) -> Array:
        """The picture (1,3,H,W) that a scale starts from: noise, or the scale before, enlarged."""
        recipe = self.recipe
        if before is None:
            noise = NOISES[recipe.noise](np.random.default_rng(self.options.seed), (*size, 3), recipe.pixel_range)
            return np.asarray(np.clip(pictures.to_batch(noise) * np.float32(recipe.pixel_range), *self.bounds()))
        rgb = shown(before[0], recipe.pixel_range, 0)
        larger = tiled_resized(rgb, size) if self.options.tileable else pictures.resized(rgb, size)
        return np.asarray(pictures.to_batch(larger) * np.float32(recipe.pixel_range), np.float32)

    def result(self, outcome: Outcome) -> Result:
        """The texture, at the last scale's size, with the source's histograms if that was asked for."""
        size = self.sizes[-1].texture
        rgb = shown(outcome.pictures[0], self.recipe.pixel_range, self.recipe.margin)
        if rgb.shape[:2] != size:  # stopped at a coarser scale
            rgb = tiled_resized(rgb, size) if self.options.tileable else pictures.resized(rgb, size)
        if self.options.histogram:
            rgb = colour.match_histogram(rgb, self.source.rgb)
        return Result(rgb, outcome.trace, None, self.source.depth, tuple(self.notes))


def _beyond(seen: Mapping[str, Field], tensors: Sequence[str], shape: tuple[int, ...]) -> int:
    """How far to continue a source (H,W,3): half the largest receptive field, or as far as its mirror image reaches."""
    sizes = [size for tensor in tensors for size in seen[tensor].size or shape[:2]]
    return min(math.ceil(max(sizes) / 2), min(shape[:2]) - 1)


def _inside(field: Field, shape: tuple[int, ...], source: tuple[int, ...], beyond: int) -> Array:
    """1 for the positions (h·w) of a tensor (1,C,h,w) whose middle lies within the source (H,W,3), else 0."""
    start, size, stride = field.start or (0, 0), field.size or (1, 1), field.stride or (1, 1)
    within = []
    for axis in (0, 1):
        middle = start[axis] + (size[axis] - 1) / 2 - beyond + np.arange(shape[axis + 2]) * stride[axis]
        within.append((middle >= 0) & (middle < source[axis]))
    return np.outer(*within).astype(np.float32).ravel()


def tiled_resized(rgb: Array, size: Size) -> Array:
    """A picture (H,W,3) that tiles, resampled to `size` so that it still does: the filter sees the opposite edge."""
    around = pictures.resized(np.tile(rgb, (3, 3, 1)), (3 * size[0], 3 * size[1]))
    return np.ascontiguousarray(around[size[0] : 2 * size[0], size[1] : 2 * size[1]])
