"""What the families share: noise, flow fields, warps, palettes, light. Fields are (side,side) float32."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32
Rng = np.random.Generator


def uniform(rng: Rng, low: float, high: float) -> float:
    """A number between the two."""
    return float(rng.uniform(low, high))


def logarithmic(rng: Rng, low: float, high: float) -> float:
    """A number between the two, as many below their geometric mean as above."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def grid(side: int) -> tuple[Field, Field]:
    """Row and column of every pixel."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return rows, columns


def unit(field: Field) -> Field:
    """Stretched to [0,1]."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), np.float32)


def smooth(rng: Rng, side: int, cells: float) -> Field:
    """Smooth noise in [0,1] with about `cells` bumps along a side."""
    count = max(int(np.ceil(cells)) + 3, 4)
    coarse = rng.random((count, count)).astype(np.float32)
    size = int(side * count / max(cells, 1)) + 1
    fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    y, x = rng.integers(0, max(size - side, 0) + 1, 2)
    return unit(fine[y : y + side, x : x + side])


def spectrum(rng: Rng, side: int, slope: float, stretch: float = 1.0, angle: float = 0.0, low: float = 1.0) -> Field:
    """Noise in [0,1] of amplitude 1/f^slope; `stretch`ed along `angle` (radians); nothing below `low` cycles a side."""
    rows, columns = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None] * side
    along = np.cos(angle) * columns + np.sin(angle) * rows
    across = np.cos(angle) * rows - np.sin(angle) * columns
    radius = np.hypot(along * stretch, across / stretch)
    amplitude = np.where(radius < low, 0, np.maximum(radius, low) ** -slope)
    noise = np.fft.rfft2(rng.standard_normal((side, side))) * amplitude
    return unit(np.fft.irfft2(noise, (side, side)).astype(np.float32))


def band(rng: Rng, side: int, frequency: float, width: float, angle: float | None, spread: float) -> Field:
    """Noise in [-1,1] around `frequency` cycles a side, within `spread` radians of `angle` or, if None, of any."""
    rows, columns = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None] * side
    radius = np.hypot(rows, columns)
    amplitude = np.exp(-(((radius - frequency) / (width * frequency)) ** 2))
    if angle is not None:
        apart = np.angle(np.exp(2j * (np.arctan2(rows, columns) - angle))) / 2
        amplitude = amplitude * np.exp(-((apart / spread) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * amplitude, (side, side))
    return np.asarray(noise / max(float(np.abs(noise).max()), 1e-6), np.float32)


def warped(picture: Field, rng: Rng, cells: float, amount: float) -> Field:
    """Moved by smooth noise of so many cells a side, by up to `amount` pixels."""
    side = picture.shape[0]
    rows, columns = grid(side)
    dy, dx = (amount * (2 * smooth(rng, side, cells) - 1) for _ in range(2))
    return np.asarray(cv2.remap(picture, columns + dx, rows + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def flow(style: Rng, rng: Rng, side: int) -> Field:
    """A field of directions in radians: straight, waving, or with vortices."""
    kind, base = style.integers(0, 4), uniform(style, 0, np.pi)
    cells, bend = logarithmic(style, 1, 6), uniform(style, 0.2, 2.5)
    if kind == 0:
        return np.full((side, side), base, np.float32) + np.float32(0.3) * (smooth(rng, side, 2) - np.float32(0.5))
    if kind == 1:
        return np.float32(base) + np.float32(bend * np.pi) * (smooth(rng, side, cells) - np.float32(0.5))
    return vortices(rng, side, int(style.integers(1, 7)), base)


def vortices(rng: Rng, side: int, count: int, base: float) -> Field:
    """Directions that circle around `count` centres, with a wind of direction `base` between them."""
    rows, columns = grid(side)
    u = np.full((side, side), np.cos(base), np.float32)
    v = np.full((side, side), np.sin(base), np.float32)
    for _ in range(count):
        cy, cx = rng.uniform(0, side, 2)
        radius, turn = rng.uniform(0.08, 0.35) * side, rng.choice([-1, 1]) * rng.uniform(1, 4)
        dy, dx = rows - np.float32(cy), columns - np.float32(cx)
        strength = np.float32(turn) * np.exp(-(dx * dx + dy * dy) / np.float32(2 * radius**2)) / np.float32(radius)
        u -= strength * dy
        v += strength * dx
    return np.arctan2(v, u)


def lic(noise: Field, angle: Field, length: int, step: float = 1.0) -> Field:
    """Line-integral convolution (Cabral and Leedom 1993): `noise` (side,side[,3]) smeared along the directions."""
    side = angle.shape[0]
    rows, columns = grid(side)
    total = noise.copy()
    dx, dy = np.cos(angle) * np.float32(step), np.sin(angle) * np.float32(step)
    for sign in (-1, 1):
        x, y = columns, rows
        for _ in range(length):
            u = cv2.remap(dx, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            v = cv2.remap(dy, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            x, y = x + sign * u, y + sign * v
            total += cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(total / np.float32(2 * length + 1), np.float32)


def palette(style: Rng, count: int = 6) -> Field:
    """Colours (count,3): of one hue, of neighbours, of opposites, earthy, or any; ordered from dark to light or not."""
    kind = style.integers(0, 6)
    hue = style.random()
    hues = hue + {0: 0.02, 1: 0.10, 2: 0.03, 3: 0.5, 4: 0.06, 5: 0.02}[int(kind)] * style.standard_normal(count)
    if kind == 2:  # two that are opposite
        hues = hues + 0.5 * (style.random(count) < 0.4)
    saturation = style.beta(2, 2, count) * (0.35 if kind == 4 else 0.15 if kind == 5 else 1)
    value = style.beta(1.5, 1.2, count) if style.random() < 0.7 else style.uniform(0.3, 0.7, count)
    if style.random() < 0.6:
        value = np.sort(value)
    hsv = np.stack([hues % 1 * 360, saturation, value], -1)[None].astype(np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0], np.float32)


def coloured(field: Field, colours: Field, hard: bool = False) -> Field:
    """A field in [0,1] as a picture (side,side,3): through the palette, in between its colours unless `hard`."""
    count = len(colours)
    if hard:
        return np.asarray(colours[np.clip((field * count).astype(int), 0, count - 1)])
    at = np.clip(field, 0, 1) * (count - 1)
    below = np.minimum(at.astype(int), count - 2)
    share = (at - below)[..., None].astype(np.float32)
    return np.asarray(colours[below] * (1 - share) + colours[below + 1] * share, np.float32)


def lit(height: Field, style: Rng, strength: float) -> Field:
    """Light on a relief (side,side), around 1: Lambert's cosine law, with a highlight at times."""
    dy, dx = np.gradient(height * np.float32(strength))
    normal = np.stack([-dx, -dy, np.ones_like(dx)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    turn, rise = uniform(style, 0, 2 * np.pi), uniform(style, 0.4, 1.2)
    light = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)], np.float32)
    shade = np.maximum(normal @ light, 0)
    gloss = uniform(style, 0, 0.8) if style.random() < 0.4 else 0.0
    return np.asarray(0.35 + 0.9 * shade + gloss * shade ** np.float32(20), np.float32)
