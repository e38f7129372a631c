"""Textures of marks that a hand could make: brush strokes, dabs, hatching, stipple, scribbles, blades, glyphs."""

import cv2
import numpy as np

from . import Picture
from .fields import Field, Rng, coloured, flow, logarithmic, palette, smooth, uniform

FINE = 8  # OpenCV's fixed point: coordinates in 1/8 pixel
SHIFT = 3


def _jittered(rng: Rng, colour: Field, amount: float) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(colour + amount * rng.standard_normal(3), 0, 1))


def _paths(angle: Field, starts: Field, steps: int, step: float) -> Field:
    """Polylines (n,steps+1,2) x, y that follow the directions from `starts` (n,2)."""
    side = angle.shape[0]
    path = np.empty((len(starts), steps + 1, 2), np.float32)
    path[:, 0] = starts
    for index in range(steps):
        at = np.clip(path[:, index], 0, side - 1).astype(int)
        turn = angle[at[:, 1], at[:, 0]]
        path[:, index + 1] = path[:, index] + np.float32(step) * np.stack([np.cos(turn), np.sin(turn)], -1)
    return path


def _lines(canvas: Picture, path: Field, colour: tuple[float, ...], width: int) -> None:
    points = (path * FINE).round().astype(np.int32)
    cv2.polylines(canvas, [points], False, colour, width, cv2.LINE_AA, SHIFT)


def strokes(style: Rng, rng: Rng, side: int) -> Picture:
    """Brush strokes along a flow, their colour that of an underpainting, with lighter and darker bristles."""
    colours, width = palette(style, 8), int(style.integers(2, 8))
    length, shake, bristles = uniform(style, 1.5, 5), uniform(style, 0.02, 0.12), style.random() < 0.6
    angle = flow(style, rng, side)
    under = coloured(smooth(rng, side, uniform(style, 2, 7)), colours)
    canvas = under.copy()
    steps, step = 5, length * width / 5
    count = int(1.6 * side * side / (length * width * width))
    path = _paths(angle, rng.uniform(-width, side + width, (count, 2)).astype(np.float32), steps, step)
    middle = np.clip(path[:, steps // 2], 0, side - 1).astype(int)
    for one, (x, y) in zip(path, middle, strict=True):
        colour = under[y, x] if rng.random() < 0.8 else colours[rng.integers(len(colours))]
        tone = _jittered(rng, colour, shake)
        _lines(canvas, one, tone, width)
        if bristles:
            offset = rng.uniform(-0.4, 0.4, 2).astype(np.float32) * width
            _lines(canvas, one + offset, _jittered(rng, np.asarray(tone, np.float32), 0.12), 1)
    return canvas


def dabs(style: Rng, rng: Rng, side: int) -> Picture:
    """Short turned ellipses: pointillism, impasto."""
    colours, size = palette(style, 8), logarithmic(style, 1.5, 6)
    ratio, shake, hard = uniform(style, 1, 3.5), uniform(style, 0.03, 0.2), uniform(style, 0.3, 1)
    angle = flow(style, rng, side)
    under = coloured(smooth(rng, side, uniform(style, 2, 7)), colours)
    canvas = under.copy()
    for x, y in rng.uniform(0, side, (int(1.3 * side * side / (np.pi * size * size * ratio)), 2)):
        at = int(y), int(x)
        colour = under[at] if rng.random() < hard else colours[rng.integers(len(colours))]
        axes = (round(size * ratio * FINE), round(size * rng.uniform(0.7, 1.2) * FINE))
        turn = float(np.degrees(angle[at]))
        tone = _jittered(rng, colour, shake)
        cv2.ellipse(canvas, (round(x * FINE), round(y * FINE)), axes, turn, 0, 360, tone, -1, cv2.LINE_AA, SHIFT)
    return canvas


def hatching(style: Rng, rng: Rng, side: int) -> Picture:
    """One to three layers of parallel pen lines, the further ones only where the tone is dark."""
    ends = palette(style, 2)
    paper, ink = (ends[0], ends[1]) if ends[0].sum() > ends[1].sum() else (ends[1], ends[0])
    paper, ink = 0.4 * paper + 0.6, 0.5 * ink
    gap, layers, base = uniform(style, 3, 8), int(style.integers(1, 4)), uniform(style, 0, np.pi)
    bent, width = uniform(style, 0, 0.7), 1 if style.random() < 0.7 else 2
    tone = smooth(rng, side, uniform(style, 1.5, 4))
    canvas = np.broadcast_to(paper, (side, side, 3)).astype(np.float32).copy()
    for layer in range(layers):
        field = np.float32(base + layer * 1.05) + np.float32(bent) * (smooth(rng, side, 2) - np.float32(0.5))
        dark = tone >= layer / (layers + 0.5)
        starts = rng.uniform(0, side, (int(0.16 * side * side / gap), 2)).astype(np.float32)
        normal = base + layer * 1.05 + np.pi / 2
        along = starts @ np.array([np.cos(normal), np.sin(normal)], np.float32)
        shift = (np.round(along / gap) * gap - along + rng.normal(0, 0.3, len(along))).astype(np.float32)
        starts = starts + shift[:, None] * np.array([np.cos(normal), np.sin(normal)], np.float32)
        for one in _paths(field, starts, 4, 3.0):
            x, y = np.clip(one[2], 0, side - 1).astype(int)
            if dark[y, x]:
                _lines(canvas, one, tuple(float(v) for v in ink), width)
    return canvas


def stipple(style: Rng, rng: Rng, side: int) -> Picture:
    """Dots, denser where the tone is dark."""
    colours, size = palette(style, 4), uniform(style, 0.7, 3.5)
    count, power = int(uniform(style, 0.15, 0.5) * side * side / (size * size)), uniform(style, 0.3, 2)
    spread = uniform(style, 0, 0.5)
    tone = smooth(rng, side, uniform(style, 1.5, 5))
    canvas = np.broadcast_to(colours[0], (side, side, 3)).astype(np.float32).copy()
    for x, y in rng.uniform(0, side, (count, 2)):
        if rng.random() < tone[int(y), int(x)] ** power:
            colour = tuple(float(v) for v in colours[1 + rng.integers(len(colours) - 1)])
            radius = max(round(size * (1 + spread * rng.standard_normal()) * FINE), 4)
            cv2.circle(canvas, (round(x * FINE), round(y * FINE)), radius, colour, -1, cv2.LINE_AA, SHIFT)
    return canvas


def scribbles(style: Rng, rng: Rng, side: int) -> Picture:
    """Long curling lines over a tone: pencil, charcoal, threads."""
    colours, width = palette(style, 5), int(style.integers(1, 4))
    turns, count = uniform(style, 1, 5), int(uniform(style, 0.5, 2.5) * side / width)
    light = style.random() < 0.5
    canvas = coloured(0.3 * smooth(rng, side, 3), colours[::-1] if light else colours)
    for _ in range(count):
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, turns / 10, 14))
        moves = np.stack([np.cos(angle), np.sin(angle)], -1) * rng.uniform(2, 5)
        path = (rng.uniform(0, side, 2) + np.cumsum(moves, 0)).astype(np.float32)
        colour = colours[rng.integers(1, len(colours))]
        _lines(canvas, path, tuple(float(v) for v in colour), width)
    return canvas


def blades(style: Rng, rng: Rng, side: int) -> Picture:
    """Blades of grass, hair or straw, the later ones before the earlier ones and lighter."""
    colours, width = palette(style, 5), int(style.integers(1, 4))
    length, base, spread = uniform(style, 8, 30), uniform(style, 0, np.pi), uniform(style, 0.1, 0.9)
    count = int(1.7 * side * side / (length * width))
    canvas = np.broadcast_to(colours[0] * np.float32(0.5), (side, side, 3)).astype(np.float32).copy()
    field = np.float32(base) + np.float32(spread) * (smooth(rng, side, 4) - np.float32(0.5))
    for index in range(count):
        x, y = rng.uniform(-5, side + 5, 2)
        turn = field[int(np.clip(y, 0, side - 1)), int(np.clip(x, 0, side - 1))] + spread * 0.6 * rng.standard_normal()
        bend = turn + 0.4 * rng.standard_normal()
        middle = np.array([x + np.cos(turn) * length / 2, y + np.sin(turn) * length / 2])
        end = middle + length / 2 * np.array([np.cos(bend), np.sin(bend)])
        colour = colours[rng.integers(len(colours))] * (0.5 + 0.5 * index / count)
        path = np.array([(x, y), middle, end], np.float32)
        _lines(canvas, path, tuple(float(v) for v in colour), width)
    return canvas


def glyphs(style: Rng, rng: Rng, side: int) -> Picture:
    """Rows of small signs from an alphabet of the texture's own, upright, or fallen in all directions."""
    colours, size, width = palette(style, 4), uniform(style, 7, 20), int(style.integers(1, 3))
    fallen, gap = style.random() < 0.4, uniform(style, 1.0, 1.5)
    alphabet = [style.uniform(-0.5, 0.5, (int(style.integers(3, 7)), 2)) for _ in range(6)]
    round_ones = style.random(6) < 0.4
    canvas = np.broadcast_to(colours[0], (side, side, 3)).astype(np.float32).copy()
    oy, ox = rng.uniform(0, size, 2)
    for y in np.arange(-oy, side + size, size * gap):
        for x in np.arange(-ox, side + size, size * gap):
            sign = int(rng.integers(len(alphabet)))
            turn = rng.uniform(0, 2 * np.pi) if fallen else 0.1 * rng.standard_normal()
            turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            path = (alphabet[sign] @ turned.T * size * 0.9 + (x, y)).astype(np.float32)
            colour = tuple(float(v) for v in colours[1 + sign % (len(colours) - 1)])
            if round_ones[sign]:
                centre = (round(x * FINE), round(y * FINE))
                cv2.circle(canvas, centre, round(size * 0.3 * FINE), colour, width, cv2.LINE_AA, SHIFT)
            else:
                _lines(canvas, path, colour, width)
    return canvas


FAMILIES = {
    "strokes": strokes,
    "dabs": dabs,
    "hatching": hatching,
    "stipple": stipple,
    "scribbles": scribbles,
    "blades": blades,
    "glyphs": glyphs,
}
