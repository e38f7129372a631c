"""A subject: one picture to be made, and what it is made from, brought to the size of every scale."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from stylogram_export.network import Network

from . import colour, pictures
from .driver import shown
from .errors import Error
from .initial import NOISES, initial_picture
from .masks import Masks, Region, flattened
from .recipes import Recipe
from .result import Result
from .session import Array
from .taps import Taps

if TYPE_CHECKING:
    from .tasks.stylize import Options

Picture = str | Path | NDArray[Any]
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
    _check_preset(options, recipe, network)
    taps = Taps.choose(network, recipe, options.content_layers, options.style_layers, longer)
    if not recipe.content_weight and not recipe.style_weight:
        raise Error("content-weight and style-weight are both 0: there is nothing to optimise; one must be above 0")
    return recipe, taps


def _check_preset(options: "Options", recipe: Recipe, network: Network) -> None:
    """A preset's layers are those of the network that it was made for: another may lack them."""
    for kind, weight in (("content_layers", recipe.content_weight), ("style_layers", recipe.style_weight)):
        layers = () if getattr(options, kind) or not weight else getattr(recipe, kind) or ()
        try:
            for name in layers:
                network.layers.tensor(name)
        except Error as problem:
            hint = f"of a VGG (--{kind.replace('_', '-')} A,B: others)"
            takes = f"preset: {options.preset} takes {', '.join(layers)} {hint}"
            raise Error(f"{takes}; {network.name}: {problem}") from problem


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
