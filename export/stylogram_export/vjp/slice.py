"""Slice: y = x[start:end:step]; dx = dy put back where it came from, 0 elsewhere.

Along an axis with a step s, dy is turned round if s < 0, spread with s - 1 zeros between its elements, and padded.
"""

import numpy as np

from ..placing import FAR, part, turned
from ..rules import Example
from ..step import Step

ops = ("Slice",)


def vjp(step: Step) -> str:
    starts, ends = step.constant(1), step.constant(2)
    rank = len(step.shape())
    axes = step.constant(3) % rank if step.has(3) else np.arange(len(starts))
    strides = step.constant(4) if step.has(4) else np.ones_like(starts)
    gx = step.gy
    pads: dict[int, tuple[int, int]] = {}
    sizes = [size or 0 for size in step.shape_y()]  # of gx as it grows; 0 keeps an open size
    for axis, start, end, stride in zip(
        *(list(map(int, given)) for given in (axes, starts, ends, strides)), strict=True
    ):
        if step.shape()[axis] is None and stride == 1 and start >= 0 and (end < 0 or end >= FAR):
            pads[axis] = (start, -min(end, 0))  # what is cut off at the two ends is known though the size is open
            continue
        size = step.size(axis)
        taken = range(*slice(start, end, stride).indices(size))
        if stride < 0:
            gx, taken = turned(step, gx, axis), taken[::-1]
        gx = _spread(step, gx, axis, taken.step, sizes) if abs(stride) > 1 else gx
        pads[axis] = (taken[0], size - taken[-1] - 1)
    return _padded(step, gx, pads)


def _spread(step: Step, gradient: str, axis: int, stride: int, sizes: list[int]) -> str:
    """Zeros between the elements of an axis: a new axis behind it, padded, and merged with it."""
    whole, sizes[axis] = sizes[axis] * stride, (sizes[axis] - 1) * stride + 1
    pillars = step.op("Unsqueeze", gradient, step.ints(axis + 1), name="pillars")
    gaps = step.op("Pad", pillars, step.ints(0, stride - 1), "", step.ints(axis + 1), name="gaps")
    merged = step.op("Reshape", gaps, step.ints(*sizes[:axis], whole, *sizes[axis + 1 :]), name="merged")
    return part(step, merged, axis, 0, sizes[axis])


def _padded(step: Step, gradient: str, pads: dict[int, tuple[int, int]]) -> str:
    needed = {axis: pair for axis, pair in pads.items() if any(pair)}
    if not needed:
        return gradient
    sizes = [pair[0] for pair in needed.values()] + [pair[1] for pair in needed.values()]
    return step.op("Pad", gradient, step.ints(*sizes), "", step.ints(*needed))


def _ints(*values: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


examples = [
    Example("Slice", [(2, 3, 4, 5), _ints(1, 0), _ints(3, FAR)], torch=lambda _, x, *_i: x[1:3], title="plain"),
    Example(
        "Slice",
        [(2, 6, 4, 5), _ints(-4, 1), _ints(-1, 2**63 - 1), _ints(1, -2)],
        torch=lambda _, x, *_i: x[:, 2:5, 1:],
        title="axes",
    ),
    Example(
        "Slice",
        [(2, 7, 8, 5), _ints(1, 0), _ints(7, 8), _ints(1, 2), _ints(3, 2)],
        torch=lambda _, x, *_i: x[:, 1:7:3, 0:8:2],
        title="steps",
    ),
    Example(
        "Slice",
        [(2, 7, 4, 9), _ints(-1, 7), _ints(-FAR, 0), _ints(1, 3), _ints(-1, -3)],
        torch=lambda _, x, *_i: x.flip(1)[..., [7, 4, 1]],
        title="backwards",
    ),
    Example(
        "Slice",
        [(1, 3, 4, 4), _ints(0), _ints(9), _ints(2)],
        torch=lambda _, x, *_i: x * 1,
        title="all of it",
    ),
]
