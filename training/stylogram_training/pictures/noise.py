"""Textures made of noise: spectra, bands, labyrinths, marble, wood, clouds, smeared noise."""

import numpy as np

from . import Picture
from .fields import (
    Rng,
    band,
    coloured,
    flow,
    lic,
    logarithmic,
    palette,
    smooth,
    spectrum,
    uniform,
    unit,
    warped,
)


def clouds(style: Rng, rng: Rng, side: int) -> Picture:
    """1/f noise, stretched and warped."""
    colours, slope = palette(style), uniform(style, 0.6, 2.4)
    stretch, angle = logarithmic(style, 1, 2.2), uniform(style, 0, np.pi)
    field = spectrum(rng, side, slope, stretch, angle, uniform(style, 1, 8))
    amount = uniform(style, 0, 14)
    return coloured(warped(field, rng, uniform(style, 2, 8), amount), colours, style.random() < 0.25)


def coloured_noise(style: Rng, rng: Rng, side: int) -> Picture:
    """Three correlated noises, one a colour axis: no palette, all mixtures."""
    base, axes = palette(style, 2), style.standard_normal((3, 3)).astype(np.float32)
    slopes = [uniform(style, 0.3, 1.8) for _ in range(3)]
    low = logarithmic(style, 1, 16)
    fields = np.stack([spectrum(rng, side, slope, low=low) - np.float32(0.5) for slope in slopes], -1)
    return np.asarray(np.clip(base[0] + fields @ axes * np.float32(uniform(style, 0.3, 0.8)), 0, 1))


def gabor(style: Rng, rng: Rng, side: int) -> Picture:
    """Band-limited noise of one or two directions (Lagae et al. 2009)."""
    colours, count = palette(style), int(style.integers(1, 3))
    total = np.zeros((side, side), np.float32)
    for _ in range(count):
        frequency, angle = logarithmic(style, 5, 40), uniform(style, 0, np.pi)
        total += band(rng, side, frequency, uniform(style, 0.1, 0.4), angle, uniform(style, 0.1, 0.6))
    return coloured(unit(np.tanh(np.float32(uniform(style, 1, 5)) * total)), colours)


def labyrinth(style: Rng, rng: Rng, side: int) -> Picture:
    """What reaction and diffusion leave: bands of one frequency, nearly two-valued (Turing 1952)."""
    colours = palette(style, int(style.integers(2, 5)))
    angle = uniform(style, 0, np.pi) if style.random() < 0.5 else None
    field = band(rng, side, logarithmic(style, 5, 26), 0.15, angle, uniform(style, 0.3, 0.8))
    level = uniform(style, -0.15, 0.15)
    return coloured(0.5 + 0.5 * np.tanh(np.float32(uniform(style, 4, 30)) * (field - np.float32(level))), colours)


def marble(style: Rng, rng: Rng, side: int) -> Picture:
    """Waves of a warped noise (Perlin 1985)."""
    colours, waves = palette(style), uniform(style, 2, 10)
    field = spectrum(rng, side, uniform(style, 1.4, 2.4))
    plane = smooth(rng, side, uniform(style, 1, 3))
    veins = np.sin(np.float32(2 * np.pi * waves) * (plane + np.float32(uniform(style, 0.2, 1)) * field))
    return coloured((0.5 + 0.5 * veins) ** np.float32(logarithmic(style, 0.4, 2.5)), colours)


def wood(style: Rng, rng: Rng, side: int) -> Picture:
    """Rings around an axis that lies far off, bent, with fibres."""
    colours, rings, stretch = palette(style), uniform(style, 5, 18), uniform(style, 4, 14)
    angle = uniform(style, 0, np.pi)
    bent = spectrum(rng, side, 2.0, 1.8, angle)
    fibres = spectrum(rng, side, 0.5, stretch**0.5, angle, 6)
    field = np.float32(rings) * bent
    return coloured(0.75 * (field - np.floor(field)) + 0.25 * fibres, colours)


def smeared(style: Rng, rng: Rng, side: int) -> Picture:
    """Line-integral convolution of noise: wind, water, fur, paint."""
    colours, grain = palette(style), logarithmic(style, 20, 110)
    angle = flow(style, rng, side)
    noise = smooth(rng, side, grain)
    field = unit(lic(noise, angle, int(style.integers(5, 13)), 1.5))
    tone = smooth(rng, side, uniform(style, 1.5, 5)) * np.float32(uniform(style, 0, 1.2))
    sharp = np.float32(uniform(style, 1, 2.2))
    return coloured(unit(0.5 + sharp * (field - 0.5) + tone), colours)


def smeared_colours(style: Rng, rng: Rng, side: int) -> Picture:
    """Blotches of a palette's colours, smeared along a flow."""
    colours, angle = palette(style, 8), flow(style, rng, side)
    cells = int(logarithmic(style, 12, 60))
    blotches = colours[rng.integers(0, len(colours), (cells, cells))]
    at = (np.arange(side) * cells // side).clip(0, cells - 1)
    blotches = blotches[at][:, at].astype(np.float32)
    smear = lic(blotches, angle, int(style.integers(4, 11)), 1.5)
    return np.asarray(np.clip(smear * np.float32(1.15) - np.float32(0.07), 0, 1))


FAMILIES = {
    "clouds": clouds,
    "coloured noise": coloured_noise,
    "gabor": gabor,
    "labyrinth": labyrinth,
    "marble": marble,
    "wood": wood,
    "smear": smeared,
    "colour smear": smeared_colours,
}
