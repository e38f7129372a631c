"""Stylize: paint the content picture in the style of one or several others (Gatys, Ecker and Bethge 2016).

min over x of  w_c · mean_l content_l(x, content) + w_s · mean_l style_l(x, styles) + w_tv · TV(x)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from .. import colour, losses, pictures, zoo
from ..driver import Callback, Outcome, Stage, run, shown
from ..errors import Error, one_of
from ..initial import NOISES, initial_picture
from ..masks import Masks, Region, flattened
from ..objective import FeatureTerm, Objective, PictureTerm
from ..optimise import OPTIMISERS
from ..options import LayerWeights, Numbers, RunOptions, Weight, checked
from ..recipes import PRESETS, Recipe
from ..result import Result
from ..session import Array, FeaturePass, available_threads, features_of, give_back
from ..taps import Taps

Picture = str | Path | NDArray[Any]
Targets = dict[tuple[str, int], Any]  # what a style loss aims at, by tensor and region

ARGUMENTS = {"content": False, "style": True}  # the name, and whether several are taken


STARTS = ("content", "random")


def _preset(value: Any) -> str:
    if not isinstance(value, str) or value not in PRESETS:
        raise one_of("preset", str(value), PRESETS)
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
    scales: int | None = Field(
        None, ge=1, le=8, title="N", description="coarse to fine: so many sizes, each twice the one before"
    )
    mask: tuple[tuple[str | Path | np.ndarray, str | Path | np.ndarray], ...] = Field(
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
        settings: dict[str, Any] = {
            "name": self.optimizer,
            "learning_rate": self.learning_rate,
            "history": self.history,
        }
        chosen = {name: value for name, value in settings.items() if value is not None}
        if self.optimizer not in (None, recipe.optimiser.name):  # another optimiser's rate and decay mean nothing here
            chosen = {"learning_rate": None, "decay": 1.0, **chosen}
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
    more: dict[str, Any] = {"callback": callback, "tolerance": work.options.tolerance}
    return run(stages, len(stages), work.result, threads=work.threads, **more)


@dataclass(frozen=True)
class _Style:
    """One style picture (H,W,3), its share, and the size of its long side over that of the picture."""

    rgb: Array
    share: float
    scale: float

    def long_side(self, content: int) -> int:
        """Its long side when the content's is `content`."""
        return max(round(content * self.scale), pictures.MIN_SIDE)

    def batch(self, content: int) -> Array:
        """(1,3,h,w) in [0,1] when the content's long side is `content`."""
        height, width = self.rgb.shape[:2]
        size = pictures.fitted(height, width, self.long_side(content))
        return pictures.to_batch(pictures.resized(self.rgb, size))


def _fitted(what: str, rgb: Array, sides: Sequence[int], scale: float = 1.0) -> list[tuple[int, int]]:
    """The height and width of a picture (H,W,3) at every scale, from the long sides, the coarsest first.

    Raises Error where a side falls under MIN_SIDE: how many scales would do, or, if not even one, which --size with one
    scale; `scale`: the picture's long side over that of the content, which --size means.
    """
    height, width = rgb.shape[:2]
    needed = math.ceil((pictures.MIN_SIDE - 0.5) * max(height, width) / min(height, width))
    possible = sum(side >= needed for side in sides)
    if possible == len(sides):
        return [pictures.fitted(height, width, side) for side in sides]
    thin = f"{what}: {width}x{height} pixels, made {sides[-1]} long, have a side under {pictures.MIN_SIDE}"
    if possible:
        raise Error(f"{thin} at the coarsest of {len(sides)} scales; accepted: at most --scales {possible}")
    raise Error(f"{thin}; accepted: --size {math.ceil(needed / scale)} or more, with --scales 1")


class Stylization:
    """One call of stylize: the pictures and the network, and a stage for each scale."""

    def __init__(self, content: Picture, styles: Sequence[Picture], options: Options) -> None:
        self.options = options
        self.recipe = options.recipe()
        self.notes: list[str] = []
        self.threads = min(options.threads or available_threads(), available_threads())
        if options.threads > self.threads:
            self.notes.append(f"--threads {options.threads}: {self.threads} are used, as many as there are processors")
        self.content = pictures.read(content)
        self.sizes = self._sizes()
        self.styles = self._styles(styles)
        self.masks = Masks.read(options.mask, self.content.rgb.shape, [style.rgb.shape for style in self.styles])
        self.regions = list(self.masks.regions([style.share for style in self.styles]))
        self.start = self._start()
        network = zoo.resolve(options.network, options.preprocess, self.recipe.pooling, options.seed)
        if options.preset == "default":
            self.recipe = self.recipe.suited(network.loss_weights, dict(options))
        self.taps = Taps.choose(network, self.recipe, options.content_layers, options.style_layers)
        self.model = [self.taps.model(network, self.recipe.pixel_range)]
        self.notes += [*self.taps.notes, *self.masks.notes]
        self._check_weights()

    def _sizes(self) -> list[tuple[int, int]]:
        height, width = self.content.rgb.shape[:2]
        sides = {"long": max(height, width), "short": min(height, width), "rows": height}
        long_side = self.recipe.size * sides["long"] / sides["long" if self.options.size else self.recipe.side]
        count = len(self.recipe.iterations)
        shrink = [self.recipe.growth ** (count - 1 - index) for index in range(count)]
        return _fitted("content", self.content.rgb, [round(long_side / by) for by in shrink])

    def _styles(self, styles: Sequence[Picture]) -> list[_Style]:
        if not styles:
            raise Error("style: at least one picture is needed, got none")
        blend = self.options.style_blend or (1.0,) * len(styles)
        if len(blend) != len(styles):
            raise Error(f"style-blend: as many numbers as styles are needed ({len(styles)}), got {len(blend)}")
        if not sum(blend):
            raise Error(f"style-blend: at least one number must be above 0, got {blend}")
        made = [
            _Style(self._recoloured(pictures.read(source).rgb), share / sum(blend), self.options.style_scale)
            for source, share in zip(styles, blend, strict=True)
        ]
        for number, style in enumerate(made, 1):
            _fitted(f"style {number}", style.rgb, [style.long_side(max(size)) for size in self.sizes], style.scale)
        return made

    def _recoloured(self, style: Array) -> Array:
        if self.options.keep_colors == "histogram":
            return colour.match_histogram(style, self.content.rgb)
        if self.options.keep_colors == "linear":
            return colour.match_linear(style, self.content.rgb)
        return style

    def _start(self) -> Array | None:
        """The initial picture that was given as a file or an array."""
        init = self.options.init
        if init is None or (isinstance(init, str) and init in STARTS):
            return None
        if isinstance(init, str) and not Path(init).exists():
            raise Error(f"init: {', '.join(STARTS)} or a picture's file is accepted, and there is no file {init!r}")
        return pictures.read(init).rgb

    def _check_weights(self) -> None:
        recipe = self.recipe
        if not recipe.content_weight and not recipe.style_weight:
            raise Error("content-weight and style-weight are both 0: there is nothing to optimise; one must be above 0")

    def stage(self, index: int, before: Array | None) -> Stage:
        """The objective and the optimiser of one scale; `before` (1,3,h,w) is the picture of the scale before."""
        size = self.sizes[index]
        threads, unit = self.threads, self.recipe.pixel_range
        targets = self._style_targets(max(size))  # first: their sessions are gone before the large one is made
        content = self._canvas(pictures.resized(self.content.rgb, size))
        height, width = content.shape[:2]
        network = FeaturePass(self._model(index), self.taps.tensors, (1, 3, height, width), threads=threads)
        give_back()  # the graph that was handed out above is freed only now
        network.picture[:] = pictures.to_batch(content) * unit
        terms = [*self._content_terms(network), *self._style_terms(network, targets)]
        network.picture[:] = pictures.to_batch(self._initial(size, content, before)) * unit
        objective = Objective(network, terms, self._picture_terms(network))
        settings = self.recipe.optimiser
        optimiser = OPTIMISERS[settings.name](1, network.picture.size, settings)
        return Stage(objective, optimiser, self.recipe.iterations[index], unit, self.recipe.clamp, self.recipe.margin)

    def _canvas(self, picture: Array) -> Array:
        """A picture (H,W,...) with its margin, mirrored."""
        side = (self.recipe.margin,) * 2
        return np.pad(picture, (side, side, (0, 0))[: picture.ndim], mode="reflect")

    def _model(self, index: int) -> onnx.ModelProto:
        """The network's graph; for the last scale it is handed out for good, and the copy of its weights with it."""
        return self.model.pop() if index == len(self.sizes) - 1 else self.model[0]

    def _initial(self, size: tuple[int, int], content: Array, before: Array | None) -> Array:
        """The picture (H,W,3) on the canvas, in [0,1], from which a scale of `size` starts."""
        recipe = self.recipe
        if before is not None:
            return self._canvas(pictures.resized(shown(before[0], recipe.pixel_range, recipe.margin), size))
        given = None if self.start is None else self._canvas(pictures.resized(self.start, size))
        span = recipe.pixel_range if recipe.pixel_range > 1 else 255.0
        noise = NOISES[recipe.noise](np.random.default_rng(self.options.seed), content.shape, span)
        return initial_picture(recipe, content, given, noise)

    def _content_terms(self, network: FeaturePass) -> list[FeatureTerm]:
        if not self.recipe.content_weight:
            return []
        network.forward()
        module = losses.load("content", "features")
        return [
            module.Term(
                layer, tensor, [network.features[tensor].copy()], weight * self.recipe.content_weight,
                self.recipe.content_normalization,
            )
            for layer, tensor, weight in self.taps.content
        ]  # fmt: skip

    def _style_terms(self, network: FeaturePass, targets: Sequence[Targets]) -> list[FeatureTerm]:
        module = losses.load("style", self.recipe.style_loss)
        pixels = network.shape[2] * network.shape[3]
        return [
            module.Term(
                layer,
                tensor,
                network.features[tensor].shape,
                [(own[tensor, k], share) for own, share in zip(targets, region.shares, strict=True) if share],
                weight * self.recipe.style_weight * region.weight,
                self.recipe.style_normalization,
                pixels,
                self._mask(region, network, tensor),
            )
            for layer, tensor, weight in self.taps.style
            for k, region in enumerate(self.regions)
        ]

    def _mask(self, region: Region, network: FeaturePass, tensor: str) -> Array | None:
        """A region's mask on the canvas, at the size of a layer, flattened."""
        if region.content is None:
            return None
        margin = 2 * self.recipe.margin
        size = (network.shape[2] - margin, network.shape[3] - margin)
        return flattened(self._canvas(pictures.resized(region.content, size)), network.features[tensor].shape[2:])

    def _style_targets(self, long_side: int) -> list[Targets]:
        """The targets of every style by layer and region."""
        if not self.taps.style:
            return []
        module = losses.load("style", self.recipe.style_loss)
        return [self._targets(module, style, long_side) for style in self.styles]

    def _targets(self, module: ModuleType, style: _Style, long_side: int) -> Targets:
        """Those of one style. Its features are not kept: they are as large as the picture's."""
        tensors = [tensor for _, tensor, _ in self.taps.style]
        picture = style.batch(long_side) * np.float32(self.recipe.pixel_range)
        features = features_of(self.model[0], tensors, picture, self.threads)
        return {
            (tensor, k): module.target(
                values, None if region.style is None else flattened(region.style, values.shape[2:])
            )
            for tensor, values in features.items()
            for k, region in enumerate(self.regions)
        }

    def _picture_terms(self, network: FeaturePass) -> list[PictureTerm]:
        if not self.recipe.tv_weight:
            return []
        return [losses.load("picture", "tv").Term(network.shape, self.recipe.tv_weight, self.recipe.tv)]

    def result(self, outcome: Outcome) -> Result:
        """The picture at the last scale's size, in the colours that were asked for."""
        size = self.sizes[-1]
        rgb = shown(outcome.pictures[0], self.recipe.pixel_range, self.recipe.margin)
        rgb = rgb if rgb.shape[:2] == size else pictures.resized(rgb, size)  # stopped at a coarser scale
        if self.options.keep_colors == "luminance":
            rgb = colour.keep_luminance(rgb, pictures.resized(self.content.rgb, size))
        alpha = None if self.content.alpha is None else pictures.resized(self.content.alpha, size)
        return Result(rgb, outcome.trace, alpha, self.content.depth, tuple(self.notes))
