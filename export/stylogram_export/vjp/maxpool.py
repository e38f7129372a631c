"""MaxPool: y = max over a window; dx = dy at the window's first maximum, 0 elsewhere; shared maxima sum.

The backward graph finds the maxima again: asking the forward for them would cost it ONNX Runtime's blocked layout.
"""

from typing import Any

from ..padding import Window, require_pads, sides, window
from ..rules import Example
from ..step import Step

ops = ("MaxPool",)
KEPT = ("kernel_shape", "strides", "pads", "dilations", "ceil_mode")


def vjp(step: Step) -> str:
    require_pads(step.node)
    win = window(step.node)
    stated = {name: step.attribute(name) for name in KEPT if step.attribute(name) is not None}
    _, where = step.ops("MaxPool", step.x(), names=["again", "where"], **stated)
    return _scattered(step, where) if win.overlaps else _unpooled(step, win, where)


def _scattered(step: Step, where: str) -> str:
    """Windows overlap: add up. The indices count through the whole flattened input."""
    shape, flat = step.shape_of(), step.ints(-1)
    count = step.op("ReduceProd", shape, name="count", keepdims=1)
    zeros = step.op("ConstantOfShape", count, name="zeros", value=step.scalar(0))
    places, values = step.op("Reshape", where, flat, name="places"), step.op("Reshape", step.gy, flat, name="values")
    return step.reshape(step.op("ScatterElements", zeros, places, values, name="sum", axis=0, reduction="add"))


def _unpooled(step: Step, win: Window, where: str) -> str:
    sizes, made = step.shape()[2:], step.shape_y()[2:]
    open_sizes = None in sizes or None in made
    if open_sizes:
        return step.op("MaxUnpool", step.gy, where, step.shape_of(), kernel_shape=win.kernel, strides=win.strides)
    # The kernel only tells the output's size here: what is left of the input from the last window on.
    last = [n + b - s * (m - 1) for n, b, s, m in zip(sizes, win.before, win.strides, made, strict=True)]  # type: ignore[operator]
    pads = [*win.before, *[0] * win.rank]
    return step.op("MaxUnpool", step.gy, where, kernel_shape=last, strides=win.strides, pads=pads)


def _case(x: tuple[int, ...], title: str, levels: int = 0, torch: bool = True, **stated: Any) -> Example:
    def same(t: Any, x: Any) -> Any:
        kernel = stated["kernel_shape"]
        rank = len(kernel)
        pool = getattr(t.nn.functional, f"max_pool{rank}d")
        pads = stated.get("pads", [0] * 2 * rank)
        padded = t.nn.functional.pad(x, sides(pads), value=-float("inf"))
        words = {"strides": "stride", "dilations": "dilation", "ceil_mode": "ceil_mode"}
        given = {word: stated.get(name, 1) for name, word in words.items()}
        return pool(padded, kernel, **(given | {"ceil_mode": bool(stated.get("ceil_mode", 0))}))

    return Example("MaxPool", [x], stated, torch=same if torch else None, levels=levels, title=title)


examples = [
    _case((2, 3, 6, 8), "halves", kernel_shape=[2, 2], strides=[2, 2]),
    _case((2, 3, 7, 5), "halves, size left over", kernel_shape=[2, 2], strides=[2, 2]),
    _case((2, 3, 7, 5), "halves, ceil", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    _case((2, 3, 6, 7), "pads", kernel_shape=[3, 2], strides=[3, 2], pads=[1, 1, 1, 0]),
    _case((2, 3, 7, 9), "gaps", kernel_shape=[2, 1], strides=[3, 4]),
    _case((2, 3, 7, 7), "overlap", kernel_shape=[3, 3], strides=[2, 2]),
    _case((2, 3, 8, 8), "overlap, ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    _case((2, 3, 8, 7), "overlap, pads", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _case((1, 2, 7, 8), "stride one", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    _case((1, 2, 9, 9), "dilation", kernel_shape=[2, 3], strides=[2, 2], dilations=[2, 3]),
    _case((2, 3, 6, 8), "ties", levels=3, kernel_shape=[2, 2], strides=[2, 2]),
    _case((2, 3, 7, 7), "ties, overlap", levels=3, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    _case((2, 3, 9), "one axis", kernel_shape=[3], strides=[2]),
    _case((1, 2, 4, 6, 4), "three axes", kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
    _case((1, 2, 7, 8), "same", torch=False, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
]
