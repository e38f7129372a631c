"""A painting that nobody else painted: brush strokes along a flow, broad ones first, with the relief of thick paint.

After Hertzmann (1998), "Painterly rendering with curved brush strokes of multiple sizes": long strokes follow a direction
field and take one colour each. Here scene and field are formulas, and every stroke is made of bristles, each with its
own shade and its own height, under a light from the upper left.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SKY = ("16204f", "1d3f93", "2f6fc0", "58a6cf", "a9d6cf", "ecebc0")
LAND = ("1d3a34", "2f6b3f", "6f9a3a", "c2b53c", "e39a2e", "b5532a")
GLOW = ("e0682a", "f3b52f", "fbe27a", "fff8dc")
ACCENTS = ("f2a03d", "d8563c", "7fd0c0", "f4ead0", "6a4fa3")
# Width of the brush in hundredths of the picture's height, distance of strokes in widths, length in widths.
LAYERS = ((7.0, 0.5, 7.0), (4.4, 0.6, 8.0), (3.0, 1.1, 9.0), (1.8, 2.2, 11.0))
STEPS = 14  # points of a stroke


def painting(size: tuple[int, int] = (384, 512), seed: int = 0) -> npt.NDArray[np.uint8]:
    """A landscape under swirling suns, (H, W, 3) uint8 RGB: the same for the same seed.

    Args:
        size: (height, width) in pixels.
        seed: where the suns are, how the hills run, and every stroke.
    """
    rng = np.random.default_rng(seed)
    height, width = size[0] * 2, size[1] * 2  # painted at twice the size: bristles are finer than a pixel
    scene = _Scene(rng, width / height)
    canvas = np.full((height, width, 3), (58, 44, 40), np.uint8)
    relief = np.full((height, width), 60, np.uint8)
    for brush, distance, length in LAYERS:
        _layer(canvas, relief, scene, rng, (brush * height / 100, distance, length))
    small = cv2.resize(_lit(canvas, relief), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


class _Scene:
    """Direction and colour at points (x, y) in heights of the picture, y downwards; random in its details."""

    def __init__(self, rng: np.random.Generator, aspect: float) -> None:
        slots = (np.arange(4) + 0.5) / 4 * aspect
        self.x = slots + rng.uniform(-0.09, 0.09, 4) * aspect
        self.y = rng.permutation([0.14, 0.24, 0.34, 0.42]) + rng.uniform(-0.04, 0.04, 4)
        self.radius = rng.permutation([0.30, 0.22, 0.16, 0.12])
        self.turn = rng.choice([-1.0, 1.0], 4)
        self.phase = rng.uniform(0, 2 * np.pi, 6)

    def hills(self, x: Array) -> Array:
        """Height y of three ridges, the farthest first: (..., 3)."""
        waves = [
            np.sin(x * k + p) * a for k, p, a in zip((3.1, 4.3, 2.6), self.phase, (0.05, 0.06, 0.07), strict=False)
        ]
        return np.stack([waves[0] + 0.62, waves[1] + 0.74, waves[2] + 0.88], axis=-1)

    def direction(self, x: Array, y: Array) -> Array:
        """Unit vectors (..., 2): around the suns, along the wind elsewhere, along the ridges on the ground."""
        flow = np.stack([np.ones_like(x), 0.45 * np.cos(5 * x + 3 * y + self.phase[3])], axis=-1)
        for sun in range(4):
            dx, dy = x - self.x[sun], y - self.y[sun]
            distance = np.hypot(dx, dy) + 1e-6
            pull = 4 * np.exp(-((distance / self.radius[sun]) ** 2)) * self.turn[sun] / distance
            flow += np.stack([-dy * pull, dx * pull], axis=-1)
        ridge = self.hills(x)
        slope = (self.hills(x + 1e-3) - ridge) / 1e-3
        ground = (y[..., None] > ridge).sum(axis=-1)
        along = np.take_along_axis(slope, np.maximum(ground - 1, 0)[..., None], axis=-1)[..., 0]
        flow = np.where(
            (ground > 0)[..., None], np.stack([np.ones_like(x), along + 0.25 * np.sin(9 * x)], axis=-1), flow
        )
        unit: Array = flow / np.linalg.norm(flow, axis=-1, keepdims=True)
        return unit

    def colour(self, x: Array, y: Array) -> Array:
        """RGB 0-255 (..., 3)."""
        wind = 0.5 + 0.5 * np.sin(11 * y + 2.2 * np.sin(3 * x + self.phase[4]) + self.phase[5])
        colour = _ramp(SKY, 0.15 + 0.5 * wind * (0.4 + y))
        for sun in range(4):
            distance = np.hypot(x - self.x[sun], y - self.y[sun]) / self.radius[sun]
            rings = 0.5 + 0.5 * np.cos(distance * 13)
            glow = np.clip(2.2 - 2 * distance, 0, 1)[..., None] * (0.72 + 0.28 * rings[..., None])
            colour += (_ramp(GLOW, 1.1 - distance) - colour) * glow
        ridge = self.hills(x)
        for hill in range(3):
            depth = y - ridge[..., hill]
            furrows = 0.5 + 0.5 * np.sin(depth * 60 / (1 + 3 * depth) + 4 * x * (hill - 1))
            field = _ramp(LAND, np.clip(0.75 * furrows + 0.12 * hill - 0.12 + 0.3 * (depth < 0.02), 0, 1))
            colour = np.where((depth > 0)[..., None], field, colour)
        return colour


def _ramp(stops: tuple[str, ...], at: Array) -> Array:
    """Colours between hexadecimal stops, evenly spaced on [0, 1]."""
    table = np.array([list(bytes.fromhex(stop)) for stop in stops], float)
    return np.stack([np.interp(at, np.linspace(0, 1, len(stops)), table[:, c]) for c in range(3)], axis=-1)


def _layer(
    canvas: Array, relief: Array, scene: _Scene, rng: np.random.Generator, brush: tuple[float, float, float]
) -> None:
    """One pass over the canvas in random order; `brush`: width in pixels, distance and length in widths."""
    width, distance, length = brush
    height, step, margin = canvas.shape[0], width * distance, width * length / 2
    grid = np.stack(np.meshgrid(*(np.arange(-margin, side + step, step) for side in canvas.shape[1::-1])), axis=-1)
    starts = rng.permutation(grid.reshape(-1, 2)) + rng.uniform(-0.5, 0.5, (grid.size // 2, 2)) * step
    count = len(starts)
    colours = scene.colour(*(starts / height).T) + rng.normal(0, 14, (count, 1)) + rng.normal(0, 9, (count, 3))
    spots = rng.random(count) < 0.03
    colours[spots] = _ramp(ACCENTS, rng.random(spots.sum()))
    stride = width * length / STEPS * rng.uniform(0.5, 1.1, (count, 1))
    path, heading = [starts], [scene.direction(*(starts / height).T)]
    for _ in range(STEPS - 1):
        path.append(path[-1] + heading[-1] * stride)
        heading.append(scene.direction(*(path[-1] / height).T))
    for points, ahead, colour in zip(np.stack(path, 1), np.stack(heading, 1), colours, strict=True):
        _stroke(canvas, relief, points, ahead, colour, width, rng)


def _stroke(
    canvas: Array, relief: Array, points: Array, ahead: Array, colour: Array, width: float, rng: np.random.Generator
) -> None:
    """Bristles along (STEPS, 2) points: each has its shade and its height, and runs out of paint on its own."""
    bristles = max(3, round(width / 2.2))
    across = np.linspace(-0.5, 0.5, bristles)
    shades = np.clip(colour + rng.normal(0, 13, (bristles, 1)) - 26 * (2 * across[:, None]) ** 4, 0, 255)
    heights = np.clip(rng.normal(150, 45, bristles) - 70 * (2 * across) ** 4, 0, 255)
    normal = ahead[:, ::-1] * (-1, 1)
    swell = width * np.sin(np.linspace(0.25, 0.92, STEPS) * np.pi)[:, None] ** 0.6
    thick = max(1, round(1.6 * width / bristles))
    first, last = rng.integers(0, 4, bristles), STEPS - rng.integers(0, 8, bristles)
    for i in rng.permutation(bristles):
        line = points + normal * swell * across[i]
        fixed = np.rint(line[first[i] : last[i]] * 8).astype(np.int32)[None]
        cv2.polylines(canvas, fixed, False, shades[i].tolist(), thick, cv2.LINE_AA, 3)
        cv2.polylines(relief, fixed, False, float(heights[i]), thick, cv2.LINE_AA, 3)


def _lit(canvas: Array, relief: Array) -> Array:
    """The colours under a light from the upper left: slopes towards it are brighter, (H, W, 3) float32."""
    height = cv2.GaussianBlur(relief.astype(np.float32), (0, 0), 1.0)
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8) + cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    light = np.clip(slope / 60, -0.35, 0.35)[..., None]
    return canvas.astype(np.float32) * (1 + 0.6 * light) + 45 * np.maximum(light, 0)
