"""Painting: pictures that go through one network together, each with its own content, styles, weights and start.

What a batch of N gives a picture is what it gets alone: the terms below see one picture each, and the optimisers keep a
state for each.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from stylogram_export.network import Network

from . import colour, losses, pictures, tiling_stage
from .devices.course import stage_of
from .devices.sessions import DevicePass
from .driver import Outcome, Stage, shown
from .errors import Error
from .initial import NOISES, initial_picture
from .masks import Masks, Region, flattened
from .objective import FeatureTerm, Objective, PictureTerm, Total, Values
from .preconditioned import optimiser_of
from .recipes import Recipe
from .result import Result
from .session import Array, Extractor, Shape, give_back
from .stages import StagedPass
from .taps import Taps
from .tiling_objective import TiledObjective, TiledPass

if TYPE_CHECKING:
    from .tasks.stylize import Options

Picture = str | Path | NDArray[Any]
Targets = dict[tuple[str, int], Any]  # what a style loss aims at, by tensor and region

Pass = StagedPass | DevicePass
STARTS = ("content", "random")


class StylePicture:
    """A style's pixels (H,W,3). `key` is its name in caches, None where no other subject can have the same."""

    def __init__(self, rgb: Array, key: Hashable = None) -> None:
        self.shape = rgb.shape
        self.rgb, self.key = rgb, key

    def at(self, size: tuple[int, int]) -> Array:
        """(1,3,h,w) in [0,1]."""
        return pictures.to_batch(pictures.resized(self.rgb, size))


def read_style(source: Picture) -> StylePicture:
    """A style from a file or an array, read anew."""
    return StylePicture(pictures.read(source).rgb)


@dataclass(frozen=True)
class _Style:
    """One style of a subject: its share, and itself (1,3,h,w) at every scale."""

    share: float
    batches: tuple[Array, ...]
    key: Hashable


def _fitted(what: str, shape: Sequence[int], sides: Sequence[int], scale: float = 1.0) -> list[tuple[int, int]]:
    """The height and width of a picture of `shape` (H,W,3) at every scale, from the long sides, the coarsest first.

    Raises Error where a side falls under MIN_SIDE: how many scales would do, or, if not even one, which --size with one
    scale; `scale`: the picture's long side over that of the content, which --size means.
    """
    height, width = shape[:2]
    needed = math.ceil((pictures.MIN_SIDE - 0.5) * max(height, width) / min(height, width))
    possible = sum(side >= needed for side in sides)
    if possible == len(sides):
        return [pictures.fitted(height, width, side) for side in sides]
    thin = f"{what}: {width}x{height} pixels, made {sides[-1]} long, have a side under {pictures.MIN_SIDE}"
    if possible:
        raise Error(f"{thin} at the coarsest of {len(sides)} scales; accepted: at most --scales {possible}")
    raise Error(f"{thin}; accepted: --size {math.ceil(needed / scale)} or more, with --scales 1")


def chosen(options: "Options", recipe: Recipe, network: Network, longer: int = 0) -> tuple[Recipe, Taps]:
    """The recipe with the weights that suit `network` where none are given, and the layers; `longer`: see Taps."""
    if options.preset == "default":
        recipe = recipe.suited(network.loss_weights, network.precondition, dict(options))
    taps = Taps.choose(network, recipe, options.content_layers, options.style_layers, longer)
    if not recipe.content_weight and not recipe.style_weight:
        raise Error("content-weight and style-weight are both 0: there is nothing to optimise; one must be above 0")
    return recipe, taps


class Subject:
    """One picture to be made: what it is made from, read and brought to the size of every scale, and by what recipe.

    choose() has to follow: the layers depend on the network.
    """

    taps: Taps

    def __init__(
        self,
        content: Picture,
        styles: Sequence[Picture],
        options: "Options",
        read: Callable[[Picture], StylePicture] = read_style,
    ) -> None:
        self.options = options
        self.recipe = options.recipe()
        given = pictures.read(content)
        self.depth = given.depth
        self.sizes = self._sizes(given.rgb.shape)
        shares = self._shares(len(styles))
        originals = [self._recoloured(read(source), given.rgb) for source in styles]
        self.styles = [
            self._style(number, original, share)
            for number, (original, share) in enumerate(zip(originals, shares, strict=True), 1)
        ]
        self.masks = Masks.read(options.mask, given.rgb.shape, [original.shape for original in originals])
        self.regions = list(self.masks.regions(shares))
        self._given = self._start()
        self.contents = [pictures.resized(given.rgb, size) for size in self.sizes]
        self._alpha = None if given.alpha is None else pictures.resized(given.alpha, self.sizes[-1])

    def choose(self, network: Network) -> None:
        """Take the layers from `network`, and the weights that suit it where none are given."""
        self.recipe, self.taps = chosen(self.options, self.recipe, network, max(self.sizes[-1]))

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.taps.notes, *self.masks.notes)

    def kind(self) -> Hashable:
        """Subjects of one network and kind can be painted together: of equal sizes, layers, optimiser and rules."""
        recipe, layers = self.recipe, (self.taps.content, self.taps.style)
        tensors = tuple(tuple(tensor for _, tensor, _ in own) for own in layers)
        rules = (recipe.pixel_range, recipe.margin, recipe.clamp, self.options.tolerance)
        return tuple(self.sizes), tensors, recipe.iterations, recipe.optimiser, rules, *self.computing

    @property
    def computing(self) -> tuple[int | str | None, str | None]:
        """What changes a result by rounding alone."""
        return self.options.tile, self.options.convolution

    def _sizes(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        height, width = shape[:2]
        sides = {"long": max(height, width), "short": min(height, width), "rows": height}
        long_side = self.recipe.size * sides["long"] / sides["long" if self.options.size else self.recipe.side]
        count = len(self.recipe.iterations)
        shrink = [self.recipe.growth ** (count - 1 - index) for index in range(count)]
        return _fitted("content", shape, [round(long_side / by) for by in shrink])

    def _shares(self, count: int) -> list[float]:
        if not count:
            raise Error("style: at least one picture is needed, got none")
        blend = self.options.style_blend or (1.0,) * count
        if len(blend) != count:
            raise Error(f"style-blend: as many numbers as styles are needed ({count}), got {len(blend)}")
        if not sum(blend):
            raise Error(f"style-blend: at least one number must be above 0, got {blend}")
        return [share / sum(blend) for share in blend]

    def _recoloured(self, style: StylePicture, content: Array) -> StylePicture:
        if self.options.keep_colors == "histogram":
            return StylePicture(colour.match_histogram(style.rgb, content))
        if self.options.keep_colors == "linear":
            return StylePicture(colour.match_linear(style.rgb, content))
        return style

    def _style(self, number: int, original: StylePicture, share: float) -> _Style:
        scale = self.options.style_scale
        sides = [max(round(max(size) * scale), pictures.MIN_SIDE) for size in self.sizes]
        fitted = _fitted(f"style {number}", original.shape, sides, scale)
        return _Style(share, tuple(original.at(size) for size in fitted), original.key)

    def _start(self) -> Array | None:
        """The initial picture of the first scale that was given as a file or an array."""
        init = self.options.init
        if init is None or (isinstance(init, str) and init in STARTS):
            return None
        if isinstance(init, str) and not Path(init).exists():
            raise Error(f"init: {', '.join(STARTS)} or a picture's file is accepted, and there is no file {init!r}")
        return pictures.resized(pictures.read(init).rgb, self.sizes[0])

    def canvas(self, picture: Array) -> Array:
        """A picture (H,W,...) with its margin, mirrored."""
        side = (self.recipe.margin,) * 2
        return np.pad(picture, (side, side, (0, 0))[: picture.ndim], mode="reflect")

    def initial(self, index: int, before: Array | None) -> Array:
        """The picture (H,W,3) on the canvas, in [0,1], that a scale starts from; `before` (3,h,w): the last scale's."""
        recipe, size = self.recipe, self.sizes[index]
        if before is not None:
            return self.canvas(pictures.resized(shown(before, recipe.pixel_range, recipe.margin), size))
        content = self.canvas(self.contents[index])
        given = None if self._given is None else self.canvas(self._given)
        span = recipe.pixel_range if recipe.pixel_range > 1 else 255.0
        rng = np.random.default_rng(self.options.seed)
        return initial_picture(recipe, content, given, lambda: NOISES[recipe.noise](rng, content.shape, span))

    def mask(self, region: Region, index: int, size: Sequence[int]) -> Array | None:
        """A region's mask on the canvas of a scale, at the `size` (h,w) of a layer, flattened."""
        if region.content is None:
            return None
        return flattened(self.canvas(pictures.resized(region.content, self.sizes[index])), size)

    def result(self, picture: Array, trace: list[dict[str, Any]], notes: Sequence[str] = ()) -> Result:
        """Of a picture (3,H,W): at the last scale's size, in the colours that were asked for."""
        size = self.sizes[-1]
        rgb = shown(picture, self.recipe.pixel_range, self.recipe.margin)
        rgb = rgb if rgb.shape[:2] == size else pictures.resized(rgb, size)  # stopped at a coarser scale
        if self.options.keep_colors == "luminance":
            rgb = colour.keep_luminance(rgb, self.contents[-1])
        return Result(rgb, trace, self._alpha, self.depth, (*notes, *self.notes))


class _Together:
    """Feature terms at one layer: some for each picture of a batch, which see that picture alone."""

    def __init__(self, terms: Sequence[Sequence[FeatureTerm]]) -> None:
        self.name, self.tap = terms[0][0].name, terms[0][0].tap
        self._terms = terms

    def each(self) -> Sequence[Sequence[FeatureTerm]]:
        """The terms of each picture."""
        return self._terms

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        for at, own in enumerate(self._terms):
            one = slice(at, at + 1)
            for number, term in enumerate(own):
                term.add(features[one], gradient[one], accumulate or number > 0, value[one])


class _PicturesTogether:
    """The same of picture terms; a picture may have none."""

    def __init__(self, name: str, terms: Sequence[PictureTerm | None]) -> None:
        self.name = name
        self._terms = terms

    def each(self) -> Sequence[Sequence[PictureTerm]]:
        """The terms of each picture: one or none."""
        return [[] if term is None else [term] for term in self._terms]

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        for at, term in enumerate(self._terms):
            one = slice(at, at + 1)
            if term is not None:
                term.add(picture[one], gradient[one], value[one])


class Painting:
    """Subjects of one network and kind, and a stage for each scale. Where the sessions come from, a subclass says."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = list(subjects)
        self.sizes, self.recipe = subjects[0].sizes, subjects[0].recipe  # of the recipe what kind() compares

    @property
    def graph(self) -> onnx.ModelProto:
        """The network on pictures in [0, pixel_range]. Asked for before the last feature_pass()."""
        raise NotImplementedError

    def feature_pass(self, index: int, shape: Shape) -> Pass:
        """The sessions of a scale, for pictures or tiles of `shape` (N,3,H,W). Asked for after the last features()."""
        raise NotImplementedError

    def features(self, picture: Array) -> Mapping[str, Any]:
        """The features at the style layers of one picture (1,3,h,w) in [0, pixel_range]: arrays, or a GPU's."""
        raise NotImplementedError

    def extractor(self, shape: Shape) -> Extractor:
        """The session of features(), for tiles of `shape` (1,3,h,w)."""
        raise NotImplementedError

    def stage(self, index: int, before: Array | None) -> Stage:
        """The objective and the optimiser of one scale; `before` (N,3,h,w) are the pictures of the scale before."""
        # First: their sessions are gone before the large one is made.
        targets = [
            [self.targets(subject, number, index) for number in self._styles(subject)] for subject in self.subjects
        ]
        recipe = self.recipe
        network = self._sessions(index)
        if not isinstance(network, DevicePass):  # whose graphs are small
            give_back()  # the graph that was handed out above is freed only now
        for at, subject in enumerate(self.subjects):
            self._put(network, at, subject.canvas(subject.contents[index]))
        features, own = self._feature_terms(network, targets, index), self._picture_terms(network.shape)
        for at, subject in enumerate(self.subjects):
            self._put(network, at, subject.initial(index, None if before is None else before[at]))
        if isinstance(network, DevicePass):
            return stage_of(network, features, own, recipe, recipe.iterations[index])
        objective: Total
        if isinstance(network, TiledPass):
            objective = TiledObjective(network, features, own)
        else:
            objective = Objective(network, features, own)
        optimiser = optimiser_of(recipe.optimiser, network.shape)
        return Stage(objective, optimiser, recipe.iterations[index], recipe.pixel_range, recipe.clamp, recipe.margin)

    def shape(self, index: int) -> Shape:
        """(N,3,H,W) of a scale, with its margin."""
        height, width = (side + 2 * self.recipe.margin for side in self.sizes[index])
        return len(self.subjects), 3, height, width

    def _sessions(self, index: int) -> Pass | TiledPass:
        count, *_, height, width = shape = self.shape(index)
        plan = tiling_stage.plan_of_picture(self.graph, self.subjects[0], (height, width)) if count == 1 else None
        if plan is None:
            return self.feature_pass(index, shape)
        tile = self.feature_pass(index, (1, 3, *plan.size))
        assert isinstance(tile, StagedPass), "tiles are refused on a GPU"
        return TiledPass(tile, plan, (height, width))

    def _feature_terms(self, network: Pass | TiledPass, targets: Sequence[Sequence[Targets]], index: int) -> list[Any]:
        layers = range(len(self.subjects[0].taps.style))
        if isinstance(network, TiledPass):
            style = [term for layer in layers for term in self._style_terms(network, 0, layer, targets[0], index)]
            return [*tiling_stage.content_terms(network, self.subjects[0]), *style]
        together = [
            _Together([self._style_terms(network, at, layer, own, index) for at, own in enumerate(targets)])
            for layer in layers
        ]
        return [*self._content_terms(network), *together]

    def _put(self, network: Pass | TiledPass, at: int, picture: Array) -> None:
        np.multiply(picture.transpose(2, 0, 1), np.float32(self.recipe.pixel_range), out=network.picture[at])

    def _styles(self, subject: Subject) -> range:
        return range(len(subject.styles) if subject.taps.style else 0)

    def targets(self, subject: Subject, number: int, index: int) -> Targets:
        """What style `number` asks of every layer and region. Its features are not kept: they are large."""
        module = losses.load("style", subject.recipe.style_loss)
        picture = subject.styles[number].batches[index] * np.float32(self.recipe.pixel_range)
        plan = tiling_stage.plan_of_style(self.graph, subject, picture.shape[2:])
        if plan is not None:
            tile = self.extractor((1, 3, *plan.size))
            return tiling_stage.style_targets(subject.recipe.style_loss, tile, plan, picture, subject.regions)
        return {
            (tensor, k): module.target(values, region.style_mask(values.shape[2:]))
            for tensor, values in self.features(picture).items()
            for k, region in enumerate(subject.regions)
        }

    def _content_terms(self, network: Pass) -> list[FeatureTerm]:
        if not self.subjects[0].taps.content:
            return []
        network.forward()
        module = losses.load("content", "features")
        return [
            _Together([[self._content_term(module, network, at, layer)] for at in range(len(self.subjects))])
            for layer in range(len(self.subjects[0].taps.content))
        ]

    def _content_term(self, module: ModuleType, network: Pass, at: int, number: int) -> FeatureTerm:
        recipe = self.subjects[at].recipe
        layer, tensor, weight = self.subjects[at].taps.content[number]
        target = network.features[tensor][at : at + 1].copy()
        term: FeatureTerm = module.Term(
            layer, tensor, [target], weight * recipe.content_weight, recipe.content_normalization
        )
        return term

    def _style_terms(
        self, network: Pass | TiledPass, at: int, number: int, targets: Sequence[Targets], index: int
    ) -> list[Any]:
        """Those of one picture at one layer, one for each of its regions."""
        subject, recipe = self.subjects[at], self.subjects[at].recipe
        module = losses.load("style", recipe.style_loss)
        layer, tensor, weight = subject.taps.style[number]
        form = module.PartTerm if isinstance(network, TiledPass) else module.Term
        shape = network.shapes[tensor]
        return [
            form(
                layer,
                tensor,
                (1, *shape[1:]),
                [(own[tensor, k], share) for own, share in zip(targets, region.shares, strict=True) if share],
                weight * recipe.style_weight * region.weight,
                recipe.style_normalization,
                network.shape[2] * network.shape[3],
                subject.mask(region, index, shape[2:]),
            )
            for k, region in enumerate(subject.regions)
        ]

    def _picture_terms(self, whole: Shape) -> list[PictureTerm]:
        module, shape = losses.load("picture", "tv"), (1, *whole[1:])
        recipes = [subject.recipe for subject in self.subjects]
        if not any(recipe.tv_weight for recipe in recipes):
            return []
        own = [module.Term(shape, recipe.tv_weight, recipe.tv) if recipe.tv_weight else None for recipe in recipes]
        return [_PicturesTogether(module.NAME, own)]

    def results(self, outcome: Outcome) -> list[Result]:
        """One for each subject; the trace is that of all."""
        return [
            subject.result(picture, outcome.trace)
            for subject, picture in zip(self.subjects, outcome.pictures, strict=True)
        ]
