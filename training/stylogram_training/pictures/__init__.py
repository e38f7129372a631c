"""Procedural pictures: textures of many families, and scenes that are put together from them. Nobody's data.

A family is a function `draw(style, rng, side) -> (side,side,3) float32 in [0,1]`. Everything that makes a texture the
one that it is (palette, scale, direction, ...) is drawn from `style`, everything else from `rng`: the same `style` and
another `rng` give another piece of the same stuff. Modules of this package declare FAMILIES, a dict of such functions.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]  # float32
Draw = Callable[[np.random.Generator, np.random.Generator, int], Picture]


def families() -> dict[str, Draw]:
    """Every family by name, in the order of the names; a name that two modules claim is an error."""
    found: dict[str, Draw] = {}
    for module in pkgutil.iter_modules(__path__):
        for name, draw in getattr(importlib.import_module(f"{__name__}.{module.name}"), "FAMILIES", {}).items():
            if name in found:
                raise ImportError(f"the family {name} is declared twice, the second time by {module.name}")
            found[name] = draw
    return dict(sorted(found.items()))


def class_names(count: int) -> list[str]:
    """`count` textures, the families taking turns: "bricks 0", "cells 0", ..., "bricks 1", ..."""
    kinds = list(families())
    return [f"{kinds[index % len(kinds)]} {index // len(kinds)}" for index in range(count)]


def texture(name: str, rng: np.random.Generator, side: int) -> Picture:
    """A piece (side,side,3) of the texture called `name`, as class_names() has them."""
    family, _, number = name.rpartition(" ")
    style = np.random.default_rng([list(families()).index(family), int(number)])
    return families()[family](style, rng, side)
