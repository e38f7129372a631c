"""AveragePool: y = sum over a window / count; dx = dy / count, spread over the window.

Spreading is a ConvTranspose with one filter of ones a channel, 1/count in its weights. Where pads are not counted,
windows at the border have counts of their own: these divide dy first.
"""

import math
from typing import Any

import numpy as np

from ..padding import Window, require_pads, window
from ..rules import Example
from ..spreading import counts, seen, spread
from ..step import Step

ops = ("AveragePool",)


def vjp(step: Step) -> str:
    require_pads(step.node)
    win = window(step.node)
    channels = step.size(1)
    full = math.prod(win.kernel)
    if _even(step, win):
        return spread(step, step.gy, win, step.const(np.full((channels, 1, *win.kernel), 1 / full), "mean"), channels)
    if None in step.shape()[2:] and not step.attribute("ceil_mode", 0):
        gy = step.op("Div", step.gy, seen(step, win), name="share")
        return spread(step, gy, win, step.const(np.full((channels, 1, *win.kernel), 1 / full), "mean"), channels)
    gy = step.mul(step.gy, step.const(1 / counts(step, win), "share"), name="share")
    return spread(step, gy, win, step.const(np.ones((channels, 1, *win.kernel)), "ones"), channels)


def _even(step: Step, win: Window) -> bool:
    """Whether every window counts all its elements."""
    padded = any(win.before) or any(win.after)
    return not step.attribute("ceil_mode", 0) and (not padded or bool(step.attribute("count_include_pad", 0)))


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
