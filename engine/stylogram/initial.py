"""The picture that optimisation starts from: content, a file's, noise, or a mixture."""

from collections.abc import Callable

import numpy as np

from .recipes import Recipe
from .session import Array

# Mean of ImageNet's pictures, RGB, 0 to 255, which the Caffe networks subtract: where the field's noises lie.
_MEAN: Array = np.array([123.68, 116.779, 103.939], np.float32)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], span: float) -> Array:  # noqa: ARG001
    return rng.uniform(0.25, 0.75, shape).astype(np.float32)


def _faint(rng: np.random.Generator, shape: tuple[int, ...], span: float) -> Array:
    """neural-style's randn · 0.001 around the mean."""
    return np.asarray((_MEAN + 0.001 * rng.standard_normal(shape, np.float32)) / span, np.float32)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], span: float) -> Array:
    """DeepTextures' randn around the mean."""
    return np.asarray((_MEAN + rng.standard_normal(shape, np.float32)) / span, np.float32)


def _band(rng: np.random.Generator, shape: tuple[int, ...], span: float) -> Array:
    """Coursera's U(-20, 20) around the mean."""
    return np.asarray((_MEAN + rng.uniform(-20, 20, shape)) / span, np.float32)


#: Noise (H,W,3) in [0,1] by the name that a recipe uses, from a generator, the shape, and the program's pixel range.
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...], float], Array]] = {
    "uniform": _uniform,
    "faint": _faint,
    "normal": _normal,
    "band": _band,
}


def initial_picture(recipe: Recipe, content: Array, given: Array | None, noise: Callable[[], Array]) -> Array:
    """(1 - a) · base + a · noise, (H,W,3); base is what was `given`, else content or noise as the recipe says."""
    if given is None and recipe.init == "random":
        return noise()
    base = content if given is None else given
    part = np.float32(recipe.init_noise)
    return base * (1 - part) + noise() * part if part else base
