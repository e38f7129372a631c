"""Scenes: regions, objects, landscapes and drawings put together from textures and plain colours, with their labels.

A scene tells of every pixel which texture it shows, the outline of which kind of thing it lies in, whether it is at an
edge, and the edge's direction: what the network learns to say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .pictures import Picture
from .pictures.fields import Field, Rng, grid, palette, smooth

SHAPES = ("ground", "ellipse", "polygon", "blob", "box", "branch", "line")
PLAIN = -1  # the texture of a plain colour or gradient
MIXED = -2  # of a place that shows more than one
STRIDE = 4  # pixels a label, in both directions
Piece = Callable[[], tuple[int, Picture]]  # a texture's index and a picture of it, of the scene's size


@dataclass
class Scene:
    """`picture` (s,s,3) in [0,1]; `texture` and `shape` (s/4,s/4); `edge` (s/2,s/2) 0 or 1; `direction` (2,s/4,s/4).

    `direction`: cos 2θ and sin 2θ of the edges' tangent, times how sure it is.
    """

    picture: Picture
    texture: NDArray[np.int16]
    shape: NDArray[np.uint8]
    edge: NDArray[np.uint8]
    direction: NDArray[np.float32]


class _Canvas:
    """A picture that things are laid upon, and what lies where."""

    def __init__(self, rng: Rng, piece: Piece, side: int) -> None:
        self.rng, self.piece, self.side = rng, piece, side
        self.picture, ground = self.stuff()
        self.texture = np.full((side, side), ground, np.int16)
        self.shape = np.zeros((side, side), np.uint8)
        self.thing = np.zeros((side, side), np.int32)

    def stuff(self, plain: float = 0.35) -> tuple[Picture, int]:
        """A texture, in changed light, or (with the chance `plain`) a gradient of two colours."""
        if self.rng.random() >= plain:
            index, picture = self.piece()
            gain = np.exp(0.2 * self.rng.standard_normal())
            return np.clip(picture * np.float32(gain), 0, 1), index
        one, two = palette(self.rng, 2)
        rows, columns = grid(self.side)
        angle = self.rng.uniform(0, 2 * np.pi)
        ramp = (np.cos(angle) * columns + np.sin(angle) * rows) / self.side
        share = np.clip(0.5 + self.rng.uniform(0.1, 0.8) * (ramp - ramp.mean()) * 2, 0, 1)[..., None]
        return np.asarray(one * (1 - share) + two * share, np.float32), PLAIN

    def lay(self, mask: Field, shape: str, light: Field | None = None, plain: float = 0.45) -> None:
        """A thing of new stuff where `mask` (s,s) in [0,1] is, under `light` (s,s) around 1."""
        picture, index = self.stuff(plain)
        if light is not None:
            picture = np.clip(picture * light[..., None], 0, 1)
        self.put(mask, picture, index, shape)

    def put(self, mask: Field, picture: Picture, index: int, shape: str) -> None:
        """A thing of the given picture."""
        self.picture = self.picture * (1 - mask[..., None]) + picture * mask[..., None]
        inside = mask > 0.5
        self.texture[inside] = index
        self.shape[inside] = SHAPES.index(shape)
        self.thing[inside] = self.thing.max() + 1

    def scene(self) -> Scene:
        """What was made, blurred or noisy at times as photographs are."""
        picture, rng = self.picture, self.rng
        if rng.random() < 0.25:
            picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.9))
        if rng.random() < 0.3:
            picture = picture + np.float32(rng.uniform(0, 0.04)) * rng.standard_normal(picture.shape, np.float32)
        texture = _same(self.texture, STRIDE, MIXED)
        shape = self.shape[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        different = np.zeros((self.side, self.side), bool)
        different[:-1] |= self.thing[:-1] != self.thing[1:]
        different[:, :-1] |= self.thing[:, :-1] != self.thing[:, 1:]
        edge = different.reshape(self.side // 2, 2, self.side // 2, 2).any((1, 3))
        return Scene(np.clip(picture, 0, 1), texture, shape, np.asarray(edge, np.uint8), self._direction())

    def _direction(self) -> NDArray[np.float32]:
        """Of the structure tensor of the things in random grey, a quarter of the size."""
        grey = self.rng.random(int(self.thing.max()) + 1).astype(np.float32)[self.thing]
        small = cv2.resize(grey, None, fx=1 / STRIDE, fy=1 / STRIDE, interpolation=cv2.INTER_AREA)
        gx, gy = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
        tensor = [cv2.GaussianBlur(v, (3, 3), 0.8) for v in (gy * gy - gx * gx, -2 * gx * gy, gx * gx + gy * gy)]
        sure = np.clip(tensor[2] * 8, 0, 1) / np.maximum(tensor[2], 1e-6)
        return np.stack([tensor[0] * sure, tensor[1] * sure]).astype(np.float32)


def _same(labels: NDArray[np.int16], stride: int, otherwise: int) -> NDArray[np.int16]:
    """The label of every block of stride × stride pixels, `otherwise` where it has several."""
    side = labels.shape[0] // stride
    blocks = labels.reshape(side, stride, side, stride).swapaxes(1, 2).reshape(side, side, -1)
    return np.where((blocks == blocks[..., :1]).all(-1), blocks[..., 0], otherwise).astype(np.int16)


def texture(canvas: _Canvas) -> None:
    """One texture, and nothing else."""
    index, picture = canvas.piece()
    canvas.picture, canvas.texture[:] = picture, index


def regions(canvas: _Canvas) -> None:
    """Two to four textures side by side, their borders straight or wavy."""
    rng, side = canvas.rng, canvas.side
    for _ in range(int(rng.integers(1, 4))):
        rows, columns = grid(side)
        angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2) * side
        across = np.cos(angle) * (columns - at[0]) + np.sin(angle) * (rows - at[1])
        if rng.random() < 0.6:
            across = across + rng.uniform(5, 50) * (smooth(rng, side, rng.uniform(1.5, 5)) - 0.5)
        canvas.lay(np.clip(across.astype(np.float32) + 0.5, 0, 1), "ground", plain=0.15)


def objects(canvas: _Canvas) -> None:
    """Ellipses, polygons, boxes and blobs: flat or round under a light, outlined or not, with shadows."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 8))):
        shape = SHAPES[int(rng.integers(1, 5))]
        mask = _mask(canvas, shape, rng.uniform(0.06, 0.3) * canvas.side)
        if rng.random() < 0.4:
            moved = np.array([[1, 0, rng.uniform(2, 8)], [0, 1, rng.uniform(2, 8)]], np.float32)
            shadow = cv2.warpAffine(mask, moved, (canvas.side, canvas.side))
            shadow = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(1, 4))
            canvas.picture = canvas.picture * (1 - np.float32(0.6) * shadow[..., None])
        canvas.lay(mask, shape, _round(mask, rng) if rng.random() < 0.6 else None)
        if rng.random() < 0.35:
            _outline(canvas, mask)


def _mask(canvas: _Canvas, shape: str, radius: float) -> Field:
    """One thing, antialiased."""
    rng, side = canvas.rng, canvas.side
    centre, turn = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
    angle = np.arange(32) / 32 * 2 * np.pi
    if shape == "polygon":
        angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    if shape == "box":
        wide, high = rng.uniform(0.4, 1.6, 2)
        points = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)])
        turn = turn if rng.random() < 0.4 else 0.05 * rng.standard_normal()
    else:
        lobes = 1 + (
            sum(rng.uniform(0, 0.3) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5)) * (shape == "blob")
        )
        points = np.stack([np.cos(angle) * lobes, np.sin(angle) * lobes * rng.uniform(0.4, 1)], -1)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [((points @ turned.T * radius + centre) * 8).round().astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    return mask


def _round(mask: Field, rng: Rng) -> Field:
    """Light on a cushion of the mask's outline."""
    depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    height = np.sqrt(np.minimum(depth, rng.uniform(6, 40)))
    dy, dx = np.gradient(cv2.GaussianBlur(height, (0, 0), 2.0))
    angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.9)
    shade = (rise - (np.cos(angle) * dx + np.sin(angle) * dy)) / np.sqrt(1 + dx * dx + dy * dy)
    return np.asarray(np.clip(0.25 + 1.1 * shade, 0.05, 1.6), np.float32)


def _outline(canvas: _Canvas, mask: Field) -> None:
    found, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    colour = palette(canvas.rng, 1)[0] * np.float32(canvas.rng.choice([0.15, 1.0]))
    picture = np.ascontiguousarray(canvas.picture, np.float32)
    width = int(canvas.rng.integers(1, 4))
    canvas.picture = cv2.polylines(picture, found, True, tuple(map(float, colour)), width, cv2.LINE_AA)


def landscape(canvas: _Canvas) -> None:
    """A sky, ridges one before the other, houses with windows, a tree at times."""
    rng, side = canvas.rng, canvas.side
    rows, _ = grid(side)
    horizon = rng.uniform(0.25, 0.6) * side
    for step in range(int(rng.integers(1, 4))):
        ridge = (
            horizon + step * rng.uniform(8, 28) + rng.uniform(0, 40) * (smooth(rng, side, rng.uniform(1, 6))[:1] - 0.5)
        )
        canvas.lay(np.clip(rows - ridge, 0, 1).astype(np.float32), "ground", plain=0.3)
    for _ in range(int(rng.integers(0, 5))):
        _house(canvas, horizon)
    for _ in range(int(rng.integers(0, 3))):
        _tree(canvas, rng.uniform(0, side), min(horizon + rng.uniform(5, 60), side + 10))


def _house(canvas: _Canvas, horizon: float) -> None:
    rng, side = canvas.rng, canvas.side
    wide, high = rng.uniform(10, 40, 2)
    left, foot = rng.uniform(-5, side - 5), horizon + rng.uniform(5, 50)
    wall, roof = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    _fill(wall, [(left, foot - high), (left + wide, foot - high), (left + wide, foot), (left, foot)])
    top = foot - high
    _fill(roof, [(left - 2, top), (left + wide / 2, top - rng.uniform(2, 18)), (left + wide + 2, top)])
    canvas.lay(wall, "box")
    canvas.lay(roof, "polygon")
    size, gap = rng.uniform(2, 5), rng.uniform(6, 11)
    windows = np.zeros((side, side), np.float32)
    for y in np.arange(top + 4, foot - size - 2, gap):
        for x in np.arange(left + 3, left + wide - size - 1, gap):
            _fill(windows, [(x, y), (x + size, y), (x + size, y + 1.4 * size), (x, y + 1.4 * size)])
    canvas.lay(windows, "box", plain=1.0)


def _fill(mask: Field, points: list[tuple[float, float]]) -> None:
    cv2.fillPoly(mask, [(np.array(points) * 8).round().astype(np.int32)], 1.0, cv2.LINE_AA, 3)


def _tree(canvas: _Canvas, x: float, y: float) -> None:
    """A trunk that branches, with leaves at times."""
    rng, side = canvas.rng, canvas.side
    mask, ends = np.zeros((side, side), np.float32), []
    grow = [(x, y, -np.pi / 2 + 0.2 * rng.standard_normal(), rng.uniform(12, 26), rng.uniform(2, 5))]
    while grow:
        x, y, angle, length, width = grow.pop()
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        line = (np.array([(x, y), end]) * 8).round().astype(np.int32)
        cv2.polylines(mask, [line], False, 1.0, max(int(width), 1), cv2.LINE_AA, 3)
        if length < 6:
            ends.append(end)
            continue
        for side_turn in (-1, 1):
            turn = angle + side_turn * rng.uniform(0.2, 0.7)
            grow.append((*end, turn, length * rng.uniform(0.55, 0.8), width * 0.65))
    canvas.lay(mask, "branch", plain=0.8)
    if rng.random() < 0.5:
        crown = np.zeros((side, side), np.float32)
        for ex, ey in ends:
            cv2.circle(crown, (round(ex * 8), round(ey * 8)), round(rng.uniform(3, 7) * 8), 1.0, -1, cv2.LINE_AA, 3)
        canvas.lay(crown, "blob", _round(crown, rng), plain=0.2)


def drawing(canvas: _Canvas) -> None:
    """Contours of things in ink or paint on a plain ground, some of them filled or hatched."""
    rng, side = canvas.rng, canvas.side
    canvas.picture, index = canvas.stuff(plain=0.7)
    canvas.texture[:] = index
    ink = palette(rng, 1)[0] * np.float32(rng.choice([0.1, 0.6]))
    for _ in range(int(rng.integers(2, 10))):
        shape = SHAPES[int(rng.integers(1, 5))]
        mask = _mask(canvas, shape, rng.uniform(0.05, 0.3) * side)
        if rng.random() < 0.4:
            canvas.lay(mask, shape, _round(mask, rng) if rng.random() < 0.5 else None, plain=0.6)
        found, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        line = np.zeros((side, side), np.float32)
        cv2.polylines(line, found, True, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
        canvas.put(line, np.broadcast_to(ink, (side, side, 3)).astype(np.float32), PLAIN, "line")
    for _ in range(int(rng.integers(0, 5))):
        angle = rng.uniform(0, 6) + np.cumsum(rng.normal(0, 0.3, 12))
        path = rng.uniform(0, side, 2) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], -1) * 6, 0)
        line = np.zeros((side, side), np.float32)
        cv2.polylines(line, [(path * 8).astype(np.int32)], False, 1.0, int(rng.integers(1, 3)), cv2.LINE_AA, 3)
        canvas.put(line, np.broadcast_to(ink, (side, side, 3)).astype(np.float32), PLAIN, "line")


KINDS = {texture: 0.36, regions: 0.16, objects: 0.22, landscape: 0.14, drawing: 0.12}


def scene(rng: Rng, piece: Piece, side: int) -> Scene:
    """A scene of a kind drawn by the shares in KINDS; `piece` gives textures of its size."""
    canvas = _Canvas(rng, piece, side)
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=list(KINDS.values())))]
    kind(canvas)
    return canvas.scene()
