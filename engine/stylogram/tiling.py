"""Tiling: a picture in overlapping tiles, so that what is computed tile by tile is exactly what the whole one gives.

Every position of a layer belongs to one tile, which holds all that it sees. All tiles are of one size: they start at
multiples of the network's total stride, and their size differs from the picture's by such a multiple. So the pools of
a tile line up with the picture's, and whatever depends on odd sizes comes out alike; where a tile ends at the
picture's border, the padding there is the picture's own.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import onnx
from stylogram_export.graph import attributes, constants, cut, describe, dims, reads, values
from stylogram_export.receptive import Field, fields
from stylogram_export.specialise import specialise

from .errors import Error
from .session import Array, output_shapes

PART = 1 << 20  # features that are looked at together: 4 MB, which stay in the second cache
UPSAMPLING = ("ConvTranspose", "Resize", "Upsample")
SHIFTED = ("half_pixel", "pytorch_half_pixel", "asymmetric")  # a Resize by these does the same at every place
SMOOTH = ("nearest", "linear")


@dataclass(frozen=True)
class Reach:
    """Along one axis, in pixels: what starts at a multiple of `step` lines up at every layer; a position whose own
    pixels end or begin at a boundary sees `before` it and `after` it."""

    step: int
    before: int
    after: int

    @property
    def halo(self) -> int:
        """What a tile has around its core, both sides together; the core starts at a multiple of the step."""
        return _up(self.before, self.step) + self.after


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis: each `length` long, from `starts` on; tile i owns what lies in bounds[i]...[i+1]."""

    length: int
    starts: tuple[int, ...]
    bounds: tuple[int, ...]


Window = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Owned:
    """The positions of a layer that belong to a tile: in the tile's features, and in the whole picture's."""

    inside: Window
    whole: Window


@dataclass(frozen=True)
class Tile:
    """`pixels`: its window of the picture. `owned`: its positions of each tap."""

    pixels: Window
    owned: Mapping[str, Owned]


@dataclass(frozen=True)
class Plan:
    """The tiles of a picture, all of `size` (h,w), and the taps' shapes (1,C,h,w) of the whole picture."""

    size: tuple[int, int]
    tiles: tuple[Tile, ...]
    shapes: Mapping[str, tuple[int, ...]]


class Layout:
    """How a graph sees pictures of `size` (H,W) at `taps`: `reaches` along rows and columns, and tiles of any core.

    Raises Error, with the node's name, for a network in which a position of a tap sees the whole picture, or that does
    not do the same at every place.
    """

    def __init__(self, model: onnx.ModelProto, taps: Sequence[str], size: tuple[int, int]) -> None:
        part = specialise(cut(model, taps), (1, 3, *size))
        seen = _local(part)
        self.size, self.shapes = size, output_shapes(part)
        self.reaches = tuple(_reach(part, seen, taps, axis) for axis in (0, 1))
        self._strides = {tap: tuple(map(_exact, seen[tap].stride or ())) for tap in taps}

    def plan(self, core: int) -> Plan:
        """Tiles that own at most `core` pixels a side, at least the network's total stride.

        One where the picture is no larger than that with its surroundings.
        """
        rows, columns = (axis(length, reach, core) for length, reach in zip(self.size, self.reaches, strict=True))
        tiles = [
            Tile(
                (_window(rows, i), _window(columns, j)),
                {tap: self._owned(tap, (rows, i), (columns, j)) for tap in self._strides},
            )
            for i in range(len(rows.starts))
            for j in range(len(columns.starts))
        ]
        return Plan((rows.length, columns.length), tuple(tiles), self.shapes)

    def _owned(self, tap: str, *along: tuple[Axis, int]) -> Owned:
        rows, columns = (
            _positions(axis, number, stride, size)
            for (axis, number), stride, size in zip(along, self._strides[tap], self.shapes[tap][2:], strict=True)
        )
        return Owned((rows[0], columns[0]), (rows[1], columns[1]))


def axis(length: int, reach: Reach, core: int) -> Axis:
    """The tiles of `length` pixels: as many as cores of the size asked for, and no larger than so many need."""
    halo, core = reach.halo, _up(core, reach.step)
    if length <= core + halo:
        return Axis(length, (0,), (0, length))
    count = -(-(length - halo) // core)
    core = _up(-(-(length - halo) // count), reach.step)
    own = core + halo + (length - core - halo) % reach.step
    starts = [*range(0, length - own, core), length - own]
    before = _up(reach.before, reach.step)
    return Axis(own, tuple(starts), (0, *(start + before for start in starts[1:]), length))


def _up(value: int, step: int) -> int:
    return max(-(-value // step), 1) * step if value else 0


def _window(along: Axis, number: int) -> slice:
    return slice(along.starts[number], along.starts[number] + along.length)


def _exact(stride: float) -> Fraction:
    return Fraction(stride).limit_denominator(64)


def _positions(along: Axis, number: int, stride: Fraction, size: int) -> tuple[slice, slice]:
    """The positions of a layer along one axis: in the tile and in the picture."""
    first, shift = int(along.bounds[number] / stride), int(along.starts[number] / stride)
    end = size if number + 1 == len(along.starts) else min(int(along.bounds[number + 1] / stride), size)
    return slice(first - shift, end - shift), slice(first, end)


def _reach(model: onnx.ModelProto, seen: Mapping[str, Field], taps: Sequence[str], axis: int) -> Reach:
    strides = [_exact(field.stride[axis]) for field in seen.values() if field.stride]
    step = math.lcm(*(stride.numerator for stride in strides))
    before = after = 0.0
    for tap in taps:
        stride, size, start = seen[tap].stride, seen[tap].size, seen[tap].start
        if stride and size and start:  # else _local has raised
            before = max(before, -start[axis])
            after = max(after, start[axis] + size[axis] - stride[axis])
    # What an upsampled position sees is known to a position of the smaller tensor only.
    spare = step if any(node.op_type in UPSAMPLING for node in model.graph.node) else 0
    return Reach(step, math.ceil(before) + spare, math.ceil(after) + spare)


def _local(model: onnx.ModelProto) -> dict[str, Field]:
    """The field of every tensor; raises Error for the first node that does not do the same at every position."""
    seen = fields(model)
    shapes = {name: dims(value) or () for name, value in values(model.graph).items()}
    for node in model.graph.node:
        if any(name in seen for name in reads(node)):
            reason = _whole(model, node, seen, shapes)
            if reason:
                raise Error(
                    f"tile: {describe(node)} {reason}; accepted: networks that do the same at every place of the "
                    "picture, from what is near"
                )
    return seen


def _whole(
    model: onnx.ModelProto, node: onnx.NodeProto, seen: Mapping[str, Field], shapes: Mapping[str, Sequence[int | None]]
) -> str:
    """What a node does that needs the whole picture; "" if nothing."""
    stated = attributes(node)
    if any(name in seen and (seen[name].size is None or seen[name].stride is None) for name in node.output):
        return "sees the whole picture"
    if node.op_type == "Concat" and stated.get("axis", 1) % 4 >= 2:
        return "joins along rows or columns"
    if node.op_type == "Slice" and list(shapes.get(node.input[0], ()))[2:] != list(shapes.get(node.output[0], ()))[2:]:
        return "cuts rows or columns off"
    if node.op_type == "Pad" and stated.get("mode") == "wrap":
        return "wraps the picture around"
    if node.op_type in ("Resize", "Upsample") and not _repeats(stated, seen, node):
        return "resizes by the picture's size or by a ratio"
    fixed = constants(model.graph)
    varied = [name for name in reads(node) if name in fixed and _varies(fixed[name].dims)]
    if varied and node.op_type not in ("Conv", "ConvTranspose"):
        return f"has a constant of its own for every place, {varied[0]!r}"
    return ""


def _varies(sizes: Sequence[int]) -> bool:
    return len(sizes) >= 2 and max(sizes[-2:]) > 1


def _repeats(stated: Mapping[str, object], seen: Mapping[str, Field], node: onnx.NodeProto) -> bool:
    """Whether a Resize enlarges by whole numbers, and in a way that does not depend on the size."""
    before, after = seen[node.input[0]].stride or (), seen[node.output[0]].stride or ()
    whole = all((a / b).is_integer() for a, b in zip(before, after, strict=True))
    kind = stated.get("coordinate_transformation_mode", "half_pixel")
    return whole and kind in SHIFTED and stated.get("mode", "nearest") in SMOOTH


def parts(features: Array, owned: Owned) -> Iterator[tuple[Owned, Array]]:
    """What is `owned` of a tile's features (1,C,h,w), in runs of rows, each copied to (1,C,P): PART, or one row."""
    (rows, columns), (above, beside) = owned.inside, owned.whole
    step = max(1, PART // (features.shape[1] * (columns.stop - columns.start)))
    for first in range(rows.start, rows.stop, step):
        last, shift = min(first + step, rows.stop), above.start - rows.start
        own = features[0, :, first:last, columns].copy().reshape(1, features.shape[1], -1)
        yield Owned((slice(first, last), columns), (slice(first + shift, last + shift), beside)), own
