"""AveragePool: y = sum over a window / count; dx = dy / count, spread over the window.

Spreading is a ConvTranspose with one filter of ones a channel, 1/count in its weights. Where pads are not counted,
windows at the border have counts of their own: these divide dy first.
"""

import math
from typing import Any

import numpy as np

from ..graph import Array
from ..padding import Window, require_pads, window
from ..rules import Example
from ..step import Step
from .conv import spread

ops = ("AveragePool",)


def vjp(step: Step) -> str:
    require_pads(step.node)
    win = window(step.node)
    channels = step.size(1)
    full = math.prod(win.kernel)
    if _even(step, win):
        return spread(step, step.gy, win, step.const(np.full((channels, 1, *win.kernel), 1 / full), "mean"), channels)
    if None in step.shape()[2:] and not step.attribute("ceil_mode", 0):
        gy = step.op("Div", step.gy, _seen(step, win), name="share")
        return spread(step, gy, win, step.const(np.full((channels, 1, *win.kernel), 1 / full), "mean"), channels)
    gy = step.mul(step.gy, step.const(1 / _counts(step, win), "share"), name="share")
    return spread(step, gy, win, step.const(np.ones((channels, 1, *win.kernel)), "ones"), channels)


def _even(step: Step, win: Window) -> bool:
    """Whether every window counts all its elements."""
    padded = any(win.before) or any(win.after)
    return not step.attribute("ceil_mode", 0) and (not padded or bool(step.attribute("count_include_pad", 0)))


def _seen(step: Step, win: Window) -> str:
    """Which part of each window lies in x, found at run time: the average of ones with zeros around them."""
    sizes = step.op("Slice", step.shape_of(), step.ints(2), step.ints(2 + win.rank), name="sizes")
    one = step.op("Concat", step.ints(1, 1), sizes, name="one", axis=0)
    ones = step.op("Expand", step.const(1), one, name="ones")
    pads = [*win.before, *win.after]
    words = {"kernel_shape": win.kernel, "strides": win.strides, "pads": pads, "count_include_pad": 1}
    return step.op("AveragePool", ones, name="seen", **words)


def _counts(step: Step, win: Window) -> Array:
    """How many elements each window counts: (1, 1, *output). Beyond the pads, where ceil_mode reaches, none do."""
    padded = step.attribute("count_include_pad", 0)
    total = np.ones((1, 1))
    for i in range(win.rank):
        size, before = step.size(i + 2), win.before[i]
        low, high = (0, before + size + win.after[i]) if padded else (before, before + size)
        made = step.shape_y()[i + 2] or 0
        starts = np.arange(made)[:, None] * win.strides[i] + np.arange(win.kernel[i])
        count = ((starts >= low) & (starts < high)).sum(axis=1)
        total = total[..., None] * count
    return total


def _case(x: tuple[int, ...], title: str, torch: bool = True, **stated: Any) -> Example:
    def same(t: Any, x: Any) -> Any:
        rank = len(stated["kernel_shape"])
        pads = stated.get("pads", [0] * 2 * rank)
        pool = getattr(t.nn.functional, f"avg_pool{rank}d")
        ceil, padded = bool(stated.get("ceil_mode", 0)), bool(stated.get("count_include_pad", 0))
        return pool(x, stated["kernel_shape"], stated.get("strides", 1), pads[:rank], ceil, padded)

    return Example("AveragePool", [x], stated, torch=same if torch else None, title=title)


examples = [
    _case((2, 3, 6, 8), "halves", kernel_shape=[2, 2], strides=[2, 2]),
    _case((2, 3, 7, 5), "halves, size left over", kernel_shape=[2, 2], strides=[2, 2]),
    _case((2, 3, 7, 5), "halves, ceil", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    _case((2, 3, 7, 8), "overlap, pads", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _case((2, 3, 7, 8), "counted pads", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    _case(
        (2, 3, 6, 8),
        "counted pads, ceil",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
        ceil_mode=1,
    ),
    _case((2, 3, 6, 7), "uneven pads", torch=False, kernel_shape=[3, 2], strides=[1, 2], pads=[0, 1, 2, 0]),
    _case((2, 3, 9), "one axis", kernel_shape=[3], strides=[2]),
    _case((1, 2, 4, 6, 4), "three axes", kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
    _case((1, 2, 7, 8), "same", torch=False, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
]
