"""How much a job asks for: the long side of what is optimised, and iterations over all scales and pictures.

As far as the request says: what only the network knows (the layers of a grid) the worker counts while it paints.
"""

from collections.abc import Callable
from typing import Any

from .. import pictures
from ..recipes import Recipe
from ..tasks import dream, reconstruct, texture
from ..tasks import occlusion as occluded
from ..units import SIDE

Shape = tuple[int, int]


def side(task: str, options: Any, first: Shape) -> int:
    """Pixels of the long side; `first`: (height, width) of the first picture, (0, 0) if there is none."""
    if options.size is not None:
        return max(options.size) if isinstance(options.size, tuple) else int(options.size)
    return _SIDES.get(task, _own_side)(options, first)


def iterations(task: str, options: Any, first: Shape) -> int:
    """Of every scale and picture; of `occlusion` the places of the square."""
    return _ITERATIONS.get(task, _given)(options, first)


def _own_side(_: Any, first: Shape) -> int:
    return max(first)


def _given(options: Any, _: Shape) -> int:
    return int(getattr(options, "iterations", None) or 0)


def _stylize_side(options: Any, first: Shape) -> int:
    recipe: Recipe = options.recipe()
    measured = {"long": max(first), "short": min(first), "rows": first[0]}[recipe.side]
    return round(recipe.size * max(first) / measured)


def _texture_source(options: Any, first: Shape) -> int:
    return int(options.source_size or min(max(first), texture.LARGEST))


_SIDES: dict[str, Callable[[Any, Shape], int]] = {
    "stylize": _stylize_side,
    "texture": _texture_source,
    "reconstruct": lambda _, first: min(max(first), reconstruct.SIDE),
    "dream": lambda _, first: min(max(first), dream.SIZE),
    "maximize": lambda *_: SIDE,
    "saliency": lambda *_: SIDE,
    "occlusion": lambda *_: SIDE,
}


def _texture(options: Any, first: Shape) -> int:
    recipe: Recipe = options.recipe(pictures.fitted(*first, _texture_source(options, first)))
    return sum(recipe.iterations)


def _reconstruct(options: Any, _: Shape) -> int:
    if options.grid:
        layers = len(options.content_layers or ()) + len(options.style_layers or ())
        return int(options.iterations or reconstruct.ITERATIONS) * max(layers, 1)
    return int(options.iterations or reconstruct.PRESETS[options.preset]) * int(options.starts)


def _maximize(options: Any, _: Shape) -> int:
    units = len(options.unit or options.class_ or (0,))
    return int(options.chosen_prior().iterations) * units * int(options.diversity)


def _occlusion(options: Any, first: Shape) -> int:
    height, width = pictures.fitted(*first, side("occlusion", options, first))
    square = options.square or max(round(min(height, width) / occluded.WHOLE), 1)
    stride = options.stride or max(square // 4, 1)
    return ((height - 1) // stride + 1) * ((width - 1) // stride + 1)


_ITERATIONS: dict[str, Callable[[Any, Shape], int]] = {
    "stylize": lambda options, _: sum(options.recipe().iterations),
    "texture": _texture,
    "reconstruct": _reconstruct,
    "dream": lambda options, _: options.iterations * options.octaves,
    "maximize": _maximize,
    "occlusion": _occlusion,
}
