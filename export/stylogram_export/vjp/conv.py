"""Conv: y = w ∗ x + b; dx = dy ∗ wᵀ, the weights flipped and their channels swapped.

At stride 1 this is itself a Conv with pads d(k - 1) - p, which ONNX Runtime runs faster than ConvTranspose, except for
the few channels of a picture.
"""

from functools import partial
from typing import Any

import numpy as np

from ..graph import Array
from ..padding import Window, require_pads, sides, window
from ..rules import Example, draw
from ..spreading import spread
from ..step import Step

ops = ("Conv",)
FEW = 4  # channels up to which ConvTranspose is faster: 64 -> 3 takes 4 ms against 9 at 256²


def vjp(step: Step) -> str:
    require_pads(step.node)
    weight, group = step.constant(1), step.attribute("group", 1)
    win = window(step.node, weight.shape[2:])
    if set(win.strides) == {1} and weight.shape[1] * group > FEW:
        return _convolved(step, win, group)
    return spread(step, step.gy, win, step.x(1), group)


def _convolved(step: Step, win: Window, group: int) -> str:
    full = [e - 1 for e in win.extent] * 2
    pads = [f - p for f, p in zip(full, [*win.before, *win.after], strict=True)]
    gy = step.gy
    if min(pads) < 0:  # padded by more than the window reaches: those outputs saw only padding
        begins, ends = [max(-p, 0) for p in pads[: win.rank]], [-max(-p, 0) or 2**31 for p in pads[win.rank :]]
        gy = step.op("Slice", gy, step.ints(*begins), step.ints(*ends), step.ints(*range(2, 2 + win.rank)), name="seen")
    made = step.rearranged(1, partial(flipped, group=group), "flipped")
    pads = [max(p, 0) for p in pads]
    return step.op("Conv", gy, made, kernel_shape=win.kernel, pads=pads, dilations=win.dilations, group=group)


def flipped(weight: Array, group: int) -> Array:
    """The weights of the convolution that goes back."""
    return np.flip(swapped(weight, group), axis=tuple(range(2, weight.ndim)))


def swapped(weight: Array, group: int) -> Array:
    """(group · M, C, ...) -> (group · C, M, ...)."""
    parts = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:]).swapaxes(1, 2)
    return parts.reshape(group * weight.shape[1], weight.shape[0] // group, *weight.shape[2:])


def _case(x: tuple[int, ...], w: tuple[int, ...], title: str, bias: bool = False, **stated: Any) -> Example:
    def same(t: Any, x: Any, w: Any, b: Any = None) -> Any:
        rank = w.ndim - 2
        padded = t.nn.functional.pad(x, sides(stated.get("pads", [0] * 2 * rank)))
        conv = getattr(t.nn.functional, f"conv{rank}d")
        words = {"strides": "stride", "dilations": "dilation", "group": "groups"}
        given = {word: stated[name] for name, word in words.items() if name in stated}
        return conv(padded, w, b, **given)

    inputs: list[tuple[int, ...] | Array] = [x, draw(*w, seed=1)]
    inputs += [draw(w[0], seed=2)] if bias else []
    known = "auto_pad" not in stated
    return Example("Conv", inputs, stated, torch=same if known else None, title=title)


examples = [
    _case((2, 5, 6, 7), (8, 5, 3, 3), "same", bias=True, pads=[1, 1, 1, 1]),
    _case((1, 6, 7, 6), (4, 6, 3, 2), "uneven pads", pads=[0, 1, 2, 0]),
    _case((1, 5, 3, 4), (6, 5, 1, 1), "more pads than window", pads=[1, 0, 2, 1]),
    _case((1, 3, 6, 5), (4, 3, 3, 3), "few channels", pads=[1, 1, 1, 1]),
    _case((1, 3, 11, 10), (6, 3, 5, 5), "stride", strides=[4, 3], pads=[2, 1, 0, 2]),
    _case((1, 6, 9, 8), (5, 6, 3, 3), "stride, size left over", strides=[2, 2], pads=[1, 1, 1, 1]),
    _case((1, 5, 9, 9), (6, 5, 3, 3), "dilation", dilations=[2, 3], pads=[2, 0, 1, 3]),
    _case((1, 5, 11, 12), (6, 5, 3, 2), "dilation and stride", dilations=[2, 3], strides=[3, 2], pads=[1, 2, 0, 1]),
    _case((1, 8, 5, 5), (12, 2, 3, 3), "group", group=4, pads=[1, 1, 1, 1]),
    _case((1, 8, 6, 5), (8, 1, 3, 3), "depthwise, stride", group=8, strides=[2, 2], pads=[1, 1, 1, 1]),
    _case((2, 5, 8), (6, 5, 3), "one axis", pads=[1, 1]),
    _case((1, 2, 4, 4, 5), (6, 2, 2, 2, 2), "three axes", strides=[2, 1, 2]),
    _case((1, 5, 7, 8), (6, 5, 4, 4), "same upper", auto_pad="SAME_UPPER"),
    _case((1, 5, 7, 8), (6, 5, 4, 3), "same lower, stride", auto_pad="SAME_LOWER", strides=[2, 3]),
    _case((1, 5, 7, 8), (6, 5, 4, 3), "valid", auto_pad="VALID"),
]
