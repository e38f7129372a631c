"""Textures of things side by side or over each other: leaves, Voronoi cells, facets, gravel, scales, bricks."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import Picture
from .fields import Field, Rng, coloured, grid, lit, logarithmic, palette, smooth, uniform, warped
from .marks import FINE, SHIFT

Labels = NDArray[Any]  # integers


def dead_leaves(style: Rng, rng: Rng, side: int) -> Picture:
    """Shapes whose sizes follow a power law, each over the ones before (Lee, Mumford and Huang 2001)."""
    colours, kind = palette(style, 10), style.integers(0, 4)
    small, power, edge = uniform(style, 2, 6), uniform(style, 1.5, 3), style.random() < 0.3
    shaded = style.random() < 0.5
    canvas = np.zeros((side, side, 3), np.float32)
    for _ in range(420):
        radius = min(small * (1 - rng.random()) ** (-1 / power), side / 3)
        centre = rng.uniform(-10, side + 10, 2)
        colour = colours[rng.integers(len(colours))] * (rng.uniform(0.75, 1.1) if shaded else 1)
        points = _outline(rng, int(kind) if kind < 3 else int(rng.integers(3)), radius) + centre
        fixed = [(points * FINE).round().astype(np.int32)]
        tone = tuple(float(v) for v in np.clip(colour, 0, 1))
        cv2.fillPoly(canvas, fixed, tone, cv2.LINE_AA, SHIFT)
        if edge:
            cv2.polylines(canvas, fixed, True, tuple(0.4 * v for v in tone), 1, cv2.LINE_AA, SHIFT)
    return canvas


def _outline(rng: Rng, kind: int, radius: float) -> Field:
    """A closed line (n,2) around 0: 0 an ellipse, 1 a rectangle or triangle, 2 a lobed blob."""
    turn = rng.uniform(0, 2 * np.pi)
    if kind == 1:
        corners = int(rng.integers(3, 6))
        angle = np.arange(corners) / corners * 2 * np.pi + turn
        return np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.5, 1)], -1) * radius
    angle = np.arange(24) / 24 * 2 * np.pi
    around = 1 + (0.35 * np.cos(angle * rng.integers(2, 6) + turn) if kind == 2 else 0)
    oval = np.stack([np.cos(angle) * around, np.sin(angle) * around * rng.uniform(0.4, 1)], -1)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(oval @ turned.T * radius)


def _voronoi(style: Rng, rng: Rng, side: int, cells: float) -> tuple[Labels, Field]:
    """The nearest of jittered seeds for every pixel, and how far off it is over the mean distance of seeds."""
    jitter, gap = uniform(style, 0.2, 1), side / cells
    ticks = np.arange(-0.5, cells + 1) * gap
    y, x = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) * gap * jitter for axis in np.meshgrid(ticks, ticks))
    seeds = np.full((side, side), 255, np.uint8)
    iy, ix = y.round().astype(int), x.round().astype(int)
    inside = (iy >= 0) & (iy < side) & (ix >= 0) & (ix < side)
    seeds[iy[inside], ix[inside]] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return label, np.asarray(distance / gap, np.float32)


def _borders(label: Labels) -> Field:
    """Distance of every pixel from the next cell, in pixels."""
    edge = np.ones(label.shape, np.uint8)
    edge[:-1][label[:-1] != label[1:]] = 0
    edge[:, :-1][label[:, :-1] != label[:, 1:]] = 0
    return np.asarray(cv2.distanceTransform(edge, cv2.DIST_L2, 5), np.float32)


def cells(style: Rng, rng: Rng, side: int) -> Picture:
    """Voronoi cells: mosaic, giraffe, cracked ground, stained glass."""
    colours, count = palette(style, 6), logarithmic(style, 5, 26)
    width, shade, bend = uniform(style, 0, 2.5), uniform(style, 0, 1), uniform(style, 0, 5)
    lead = np.float32(style.choice([0.0, 0.15, 0.9, 1.0]))
    label, distance = _voronoi(style, rng, side, count)
    tint = colours[rng.integers(0, len(colours), int(label.max()) + 1)][label]
    away = np.clip(_borders(label) - np.float32(width), 0, 1)[..., None]
    inner = tint * (1 - np.float32(shade) * np.minimum(distance, 1)[..., None])
    return warped(inner * away + lead * (1 - away), rng, 6, bend)


def facets(style: Rng, rng: Rng, side: int) -> Picture:
    """Planes cut by straight lines, a gradient in each: cubism, crystal, crumpled paper."""
    colours, lines = palette(style, 8), int(uniform(style, 6, 26))
    depth, edge = uniform(style, 0.1, 0.6), style.random() < 0.5
    rows, columns = grid(side)
    label = np.zeros((side, side), np.int64)
    slope = np.zeros((side, side), np.float32)
    for _ in range(lines):
        angle, at = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9, 2) * side
        across = np.float32(np.cos(angle)) * (columns - np.float32(at[0])) + np.float32(np.sin(angle)) * (
            rows - np.float32(at[1])
        )
        label = (label * 2 + (across > 0)) % 999983
        slope += np.abs(across) / side * rng.choice([-1, 1])
    made = colours[(label * 7919) % len(colours)] * (1 + np.float32(depth) * np.tanh(2 * slope)[..., None])
    if edge:
        made = made * np.clip(np.float32(0.3) + _borders(label) / 2, 0, 1)[..., None].astype(np.float32)
    return np.clip(made, 0, 1)


def gravel(style: Rng, rng: Rng, side: int) -> Picture:
    """Stones with light from one side, in sizes that vary, on dark ground."""
    colours, count = palette(style, 6), logarithmic(style, 7, 24)
    label, _ = _voronoi(style, rng, side, count)
    border = _borders(label)
    gap = side / count
    dome = np.sqrt(np.clip(border / (0.5 * gap), 0, 1))
    rough = uniform(style, 0, 0.25) * smooth(rng, side, side / 4)
    light = lit(dome * np.float32(gap * 0.35) + np.float32(2) * rough, style, uniform(style, 0.5, 1.5))
    tint = colours[rng.integers(0, len(colours), int(label.max()) + 1)][label]
    return np.clip(tint * light[..., None] * np.clip(border / 2, 0.15, 1)[..., None], 0, 1)


def scales(style: Rng, rng: Rng, side: int) -> Picture:
    """Rows of overlapping half discs: fish, roof, feathers."""
    colours, size, flat = palette(style, 5), uniform(style, 8, 24), uniform(style, 0.5, 1)
    turn, edge, shake = style.integers(0, 4), uniform(style, 0.2, 0.9), uniform(style, 0, 0.12)
    canvas = np.broadcast_to(colours[0], (side, side, 3)).astype(np.float32).copy()
    oy, ox = rng.uniform(0, size, 2)
    for row, y in enumerate(np.arange(side + size, -size - oy, -size * flat / 2)):
        for x in np.arange(-size - ox + (row % 2) * size / 2, side + size, size):
            colour = colours[rng.integers(len(colours))] * (1 + shake * rng.standard_normal())
            centre = (round(x * FINE), round(y * FINE))
            for share, radius in ((edge, size / 1.8), (1.0, size / 2.1), (1.15, size / 5)):
                tone = tuple(float(v) for v in np.clip(colour * share, 0, 1))
                axes = (round(radius * FINE), round(radius * FINE))
                cv2.ellipse(canvas, centre, axes, 0, 0, 360, tone, -1, cv2.LINE_AA, SHIFT)
    return np.ascontiguousarray(np.rot90(canvas, int(turn)))


def bricks(style: Rng, rng: Rng, side: int) -> Picture:
    """Courses of bricks or tiles with mortar; each its own tone, rough and lit."""
    colours, height, ratio = palette(style, 6), uniform(style, 7, 26), uniform(style, 1, 3.2)
    joint, offset, shake = uniform(style, 0.7, 2.5), style.choice([0.0, 0.5, 0.33]), uniform(style, 0.03, 0.25)
    bend, turn, width = uniform(style, 0, 4), style.integers(0, 2), height * ratio
    rows, columns = grid(side)
    y = rows + np.float32(rng.uniform(0, height))
    course = np.floor(y / np.float32(height))
    x = columns + np.float32(rng.uniform(0, width)) + course * np.float32(offset * width)
    which = np.floor(x / np.float32(width))
    inside = np.minimum(
        np.minimum(y % np.float32(height), np.float32(height) - y % np.float32(height)),
        np.minimum(x % np.float32(width), np.float32(width) - x % np.float32(width)),
    )
    number = ((course * 131 + which * 71) % 997).astype(int)
    tint = colours[rng.integers(0, len(colours) - 1, 997)][number] * (1 + shake * rng.standard_normal((997, 1)))[number]
    top = np.clip(inside - np.float32(joint / 2), 0, 1)
    light = lit(np.clip(inside, 0, 3) + 2 * smooth(rng, side, side / 5), style, uniform(style, 0.1, 0.6))
    made = (tint * top[..., None] + colours[-1] * (1 - top[..., None])) * light[..., None]
    made = warped(np.clip(made, 0, 1).astype(np.float32), rng, 4, bend)
    return np.ascontiguousarray(np.rot90(made, int(turn)))


def relief(style: Rng, rng: Rng, side: int) -> Picture:
    """A lit surface of noise: stone, plaster, bark, cloth."""
    colours = palette(style, 5)
    rough = smooth(rng, side, logarithmic(style, 6, 60))
    coarse = smooth(rng, side, uniform(style, 2, 6))
    ridged = np.abs(2 * rough - 1) if style.random() < 0.5 else rough
    light = lit(ridged * np.float32(uniform(style, 3, 14)) + coarse * np.float32(6), style, 1.0)
    return np.asarray(np.clip(coloured(0.6 * coarse + 0.4 * rough, colours) * light[..., None], 0, 1))


FAMILIES = {
    "leaves": dead_leaves,
    "cells": cells,
    "facets": facets,
    "gravel": gravel,
    "scales": scales,
    "bricks": bricks,
    "relief": relief,
}
