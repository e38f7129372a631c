"""Textures of rules: stripes, checks, lattices, waves, knots, fractals."""

import cv2
import numpy as np

from . import Picture
from .fields import Field, Rng, coloured, flow, grid, logarithmic, palette, smooth, uniform, unit, warped


def _wave(style: Rng, phase: Field) -> Field:
    """A periodic profile in [0,1]: sine, square, saw or thin line."""
    kind = style.integers(0, 4)
    turn = phase - np.floor(phase)
    if kind == 0:
        return 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    if kind == 1:
        return np.clip(0.5 + 6 * np.sin(2 * np.pi * phase), 0, 1)
    if kind == 2:
        return turn
    return np.asarray(np.clip(1.2 - np.abs(turn - 0.5) * np.float32(uniform(style, 6, 14)), 0, 1))


def _along(angle: float, side: int, rng: Rng) -> Field:
    rows, columns = grid(side)
    at = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
    return np.asarray(at / side + np.float32(rng.random()), np.float32)


def stripes(style: Rng, rng: Rng, side: int) -> Picture:
    """Stripes, straight or bent."""
    colours, count, angle = palette(style, 4), logarithmic(style, 4, 32), uniform(style, 0, np.pi)
    bend = uniform(style, 0, 12) if style.random() < 0.6 else 0.0
    made = coloured(_wave(style, np.float32(count) * _along(angle, side, rng)), colours, style.random() < 0.3)
    return warped(made, rng, uniform(style, 1.5, 5), bend)


def checks(style: Rng, rng: Rng, side: int) -> Picture:
    """Two sets of stripes: checks, plaid, woven cloth, lattices."""
    colours, count, angle = palette(style, 5), logarithmic(style, 3, 20), uniform(style, 0, np.pi)
    second = angle + (np.pi / 2 if style.random() < 0.7 else uniform(style, 0.6, 1.2))
    bend, mode, ratio = uniform(style, 0, 6), style.integers(0, 3), style.choice([1.0, 1.0, 0.5, 2.0])
    one = _wave(style, np.float32(count) * _along(angle, side, rng))
    two = _wave(style, np.float32(count * ratio) * _along(second, side, rng))
    mixed = (np.abs(one - two), 0.5 * (one + two), np.maximum(one, two))[mode]
    return warped(coloured(mixed, colours), rng, 3, bend)


def ripples(style: Rng, rng: Rng, side: int) -> Picture:
    """Waves around one or several centres: rings, moiré, ripples, halos."""
    colours, count = palette(style, 5), logarithmic(style, 5, 24)
    sources = int(style.integers(1, 5))
    rows, columns = grid(side)
    total = np.zeros((side, side), np.float32)
    for y, x in rng.uniform(-0.2, 1.2, (sources, 2)) * side:
        total += np.sin(2 * np.pi * np.float32(count / side) * np.hypot(rows - np.float32(y), columns - np.float32(x)))
    sharp = np.float32(logarithmic(style, 0.7, 8))
    return warped(coloured(0.5 + 0.5 * np.tanh(sharp * total / sources), colours), rng, 4, uniform(style, 0, 8))


def contours(style: Rng, rng: Rng, side: int) -> Picture:
    """Flowing parallel bands, as of a landscape of heights: the sky of The Scream, agate, maps."""
    colours, bands = palette(style, 8), uniform(style, 3, 14)
    field = smooth(rng, side, uniform(style, 1.5, 5)) + np.float32(0.5) * _along(uniform(style, 0, np.pi), side, rng)
    field = warped(field, rng, 3, uniform(style, 0, 20))
    phase = np.float32(bands) * field
    index = np.floor(phase).astype(int) % len(colours)
    made = colours[index].astype(np.float32)
    if style.random() < 0.5:
        turn = phase - np.floor(phase)
        made = made * np.clip(np.minimum(turn, 1 - turn) * 10, 0.25, 1)[..., None]
    if style.random() < 0.6:
        made = (
            cv2.GaussianBlur(made, (0, 0), uniform(style, 0.5, 2)) + np.float32(0.06) * smooth(rng, side, 40)[..., None]
        )
    return np.asarray(np.clip(made, 0, 1))


def combed(style: Rng, rng: Rng, side: int) -> Picture:
    """Fine lines that follow a flow: engraving, combed sand, hair, strings."""
    colours, count = palette(style, 4), logarithmic(style, 8, 34)
    angle = flow(style, rng, side)
    rows, columns = grid(side)
    across = np.cos(angle) * rows - np.sin(angle) * columns
    tone = smooth(rng, side, uniform(style, 1.5, 5))
    line = 0.5 + 0.5 * np.sin(2 * np.pi * np.float32(count / side) * across)
    return coloured(np.clip(0.5 + np.float32(uniform(style, 1, 5)) * (line - tone), 0, 1), colours)


def lattice(style: Rng, rng: Rng, side: int) -> Picture:
    """A motif repeated on a lattice: dots, rings, crosses, diamonds, stars."""
    colours, size, kind = palette(style, 4), uniform(style, 7, 26), style.integers(0, 5)
    angle, skew = uniform(style, 0, np.pi / 2), style.choice([0.0, 0.5])
    fill, bend = uniform(style, 0.25, 0.48), uniform(style, 0, 5)
    u, v = _along(angle, side, rng) * side / size, _along(angle + np.pi / 2, side, rng) * side / size
    u = u + np.float32(skew) * np.floor(v)
    x, y = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    radius = np.hypot(x, y)
    shape = (
        radius,
        np.abs(radius - 0.3) + 0.2,
        np.minimum(np.abs(x), np.abs(y)) + 0.2,
        np.abs(x) + np.abs(y),
        radius * (1 + 0.4 * np.cos(np.float32(style.integers(3, 7)) * np.arctan2(y, x))),
    )[kind]
    ink = np.clip((np.float32(fill) - shape) * np.float32(size / 1.5) + 0.5, 0, 1)[..., None]
    number = ((np.floor(u) * 3 + np.floor(v) * 5) % (len(colours) - 1)).astype(int)
    ground = colours[0] * (np.float32(0.85) + np.float32(0.3) * smooth(rng, side, 8)[..., None])
    return warped(np.clip(ground * (1 - ink) + colours[1 + number] * ink, 0, 1).astype(np.float32), rng, 4, bend)


def fractal(style: Rng, rng: Rng, side: int) -> Picture:
    """Points of an iterated function system (FractalDB: Kataoka et al. 2020), several copies over each other."""
    colours, count = palette(style, 4), int(style.integers(2, 6))
    maps = style.uniform(-1, 1, (count, 2, 3))
    for one in maps:  # contracting: otherwise the points leave
        one[:, :2] *= uniform(style, 0.45, 0.85) / max(float(np.linalg.norm(one[:, :2], 2)), 1e-6)
    total = np.zeros((side, side), np.float32)
    copies, zoom = int(uniform(style, 3, 9)), uniform(style, 0.4, 1.2)
    point = np.zeros((400, 2))
    orbit = []
    for step in range(20):
        chosen = maps[rng.integers(0, count, len(point))]
        point = (chosen[:, :, :2] @ point[:, :, None])[:, :, 0] + chosen[:, :, 2]
        if step >= 8:
            orbit.append(point)
    cloud = np.concatenate(orbit)
    cloud = (cloud - cloud.mean(0)) / max(float(cloud.std()), 1e-3)
    for _ in range(copies):
        turn, centre = rng.uniform(0, 2 * np.pi), rng.uniform(0, side, 2)
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        at = (cloud @ turned.T * zoom * side * 0.16 + centre).astype(int)
        at = at[((at >= 0) & (at < side)).all(1)]
        total += np.bincount(at[:, 1] * side + at[:, 0], minlength=side * side).reshape(side, side).astype(np.float32)
    field = unit(np.log1p(cv2.GaussianBlur(total, (0, 0), uniform(style, 0.5, 1.2))))
    return coloured(field, colours)


FAMILIES = {
    "stripes": stripes,
    "checks": checks,
    "ripples": ripples,
    "contours": contours,
    "combed": combed,
    "lattice": lattice,
    "fractal": fractal,
}
