"""A painting that nobody else painted: brush strokes along a flow, broad ones first, with the relief of thick paint.

After Hertzmann (1998), "Painterly rendering with curved brush strokes of multiple sizes": long strokes follow a
direction field and take one colour each. Here scene and field are formulas, and a stroke is made of bristles.
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
    """A landscape under swirling suns, (H, W, 3) uint8 RGB; `size` is (H, W); one seed gives one picture."""
    rng = np.random.default_rng(seed)
    height, width = size[0] * 2, size[1] * 2  # painted at twice the size: bristles are finer than a pixel
    scene = _Scene(rng, width / height)
    y, x = np.mgrid[0:height, 0:width] / height
    canvas = scene.colour(x, y).clip(0, 255).astype(np.uint8)
    relief = np.full((height, width), 60, np.uint8)
    for brush, distance, length in LAYERS:
        _layer(canvas, relief, scene, rng, (brush * height / 100, distance, length))
    small = cv2.resize(_lit(canvas, relief), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small + 0.5, 0, 255), np.uint8)


class _Scene:
    """Direction and colour at points (x, y) in heights of the picture, y downwards; random in its details."""

    def __init__(self, rng: np.random.Generator, aspect: float) -> None:
        x = ((np.arange(4) + 0.5) / 4 + rng.uniform(-0.09, 0.09, 4)) * aspect
        y = rng.permutation([0.14, 0.24, 0.34, 0.42]) + rng.uniform(-0.04, 0.04, 4)
        self.suns = list(zip(x, y, rng.permutation([0.30, 0.22, 0.16, 0.12]), rng.choice([-4, 4], 4), strict=True))
        self.phase = rng.uniform(0, 2 * np.pi, 6)

    def ridges(self, x: Array) -> Array:
        """The heights y of three hills, the farthest first: (..., 3)."""
        waves = np.sin(x[..., None] * (3.1, 4.3, 2.6) + self.phase[:3])
        return np.asarray(waves * (0.05, 0.06, 0.07) + (0.62, 0.74, 0.88))

    def direction(self, x: Array, y: Array) -> Array:
        """Unit vectors (..., 2): around the suns, along the wind elsewhere, along the ridges on the ground."""
        across, down = np.ones_like(x), 0.45 * np.cos(5 * x + 3 * y + self.phase[3])
        for sun_x, sun_y, radius, turn in self.suns:
            distance = np.hypot(x - sun_x, y - sun_y) + 1e-6
            pull = turn * np.exp(-((distance / radius) ** 2)) / distance
            across, down = across - (y - sun_y) * pull, down + (x - sun_x) * pull
        ridges = self.ridges(x)
        hill = (y[..., None] > ridges).sum(axis=-1)
        slopes = (self.ridges(x + 1e-3) - ridges) / 1e-3
        slope = np.take_along_axis(slopes, np.maximum(hill - 1, 0)[..., None], axis=-1)[..., 0]
        across, down = np.where(hill > 0, (np.ones_like(x), slope + 0.25 * np.sin(9 * x)), (across, down))
        return np.asarray(np.stack([across, down], axis=-1) / np.hypot(across, down)[..., None])

    def colour(self, x: Array, y: Array) -> Array:
        """RGB 0-255 (..., 3)."""
        wind = 0.5 + 0.5 * np.sin(11 * y + 2.2 * np.sin(3 * x + self.phase[4]) + self.phase[5])
        colour = _ramp(SKY, 0.15 + 0.5 * wind * (0.4 + y))
        for sun_x, sun_y, radius, _ in self.suns:
            distance = np.hypot(x - sun_x, y - sun_y) / radius
            glow = np.clip(2.2 - 2 * distance, 0, 1) * (0.86 + 0.14 * np.cos(distance * 13))
            colour += (_ramp(GLOW, 1.1 - distance) - colour) * glow[..., None]
        for hill, depth in enumerate(np.moveaxis(y[..., None] - self.ridges(x), -1, 0)):
            furrows = 0.5 + 0.5 * np.sin(depth * 60 / (1 + 3 * np.abs(depth)) + 4 * x * (hill - 1))
            field = _ramp(LAND, 0.75 * furrows + 0.12 * hill - 0.12 + 0.3 * (depth < 0.02))
            colour = np.where((depth > 0)[..., None], field, colour)
        return colour


def _ramp(stops: tuple[str, ...], at: Array) -> Array:
    """Colours between hexadecimal stops, evenly spaced on [0, 1]."""
    table = np.array([list(bytes.fromhex(stop)) for stop in stops], float)
    return np.stack([np.interp(at, np.linspace(0, 1, len(stops)), column) for column in table.T], axis=-1)


def _layer(canvas: Array, relief: Array, scene: _Scene, rng: np.random.Generator, brush: tuple[float, ...]) -> None:
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
    path, ahead = [starts], [scene.direction(*(starts / height).T)]
    for _ in range(STEPS - 1):
        path.append(path[-1] + ahead[-1] * stride)
        ahead.append(scene.direction(*(path[-1] / height).T))
    for stroke in zip(np.stack(path, 1), np.stack(ahead, 1), colours, strict=True):
        _stroke(canvas, relief, *stroke, width, rng)


def _stroke(canvas: Array, relief: Array, path: Array, ahead: Array, colour: Array, width: float, rng: Any) -> None:
    """Bristles along (STEPS, 2) points: each has its shade and its height, and runs out of paint on its own."""
    bristles = max(3, round(width / 2.2))
    across = np.linspace(-1, 1, bristles)
    shades = np.clip(colour + rng.normal(0, 13, (bristles, 1)) - 26 * across[:, None] ** 4, 0, 255)
    heights = np.clip(rng.normal(150, 45, bristles) - 70 * across**4, 0, 255)
    swell = width / 2 * np.sin(np.linspace(0.25, 0.92, STEPS) * np.pi)[:, None] ** 0.6
    thick = max(1, round(1.6 * width / bristles))
    first, last = rng.integers(0, 4, bristles), STEPS - rng.integers(0, 8, bristles)
    for i in rng.permutation(bristles):
        line = (path + ahead[:, ::-1] * (-1, 1) * swell * across[i])[first[i] : last[i]]
        fixed = np.rint(line * 8).astype(np.int32)[None]  # three bits behind the point
        cv2.polylines(canvas, fixed, False, shades[i].tolist(), thick, cv2.LINE_AA, 3)
        cv2.polylines(relief, fixed, False, float(heights[i]), thick, cv2.LINE_AA, 3)


def _lit(canvas: Array, relief: Array) -> Array:
    """The colours under a light from the upper left, (H, W, 3) float32: slopes towards it are brighter."""
    height = cv2.GaussianBlur(relief.astype(np.float32), (0, 0), 1.0)
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8) + cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    light = np.clip(slope / 60, -0.35, 0.35)[..., None]
    return np.asarray(canvas * (1 + 0.6 * light) + 45 * np.maximum(light, 0), np.float32)
