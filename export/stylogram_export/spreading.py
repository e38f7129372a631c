"""Gradients spread back over sliding windows, and how many elements each window saw."""

from typing import Any

import numpy as np

from .graph import Array
from .padding import Window
from .step import Step


def spread(step: Step, gy: str, win: Window, weight: str, group: int) -> str:
    """ConvTranspose onto exactly the input's size, cropped at run time if that is open."""
    sizes, made = step.shape()[2:], step.shape_y()[2:]
    stated: dict[str, Any] = {
        "kernel_shape": win.kernel,
        "strides": win.strides,
        "dilations": win.dilations,
        "group": group,
        "pads": [*win.before, *win.after],
    }
    reach = [
        None if n is None or m is None else n - (s * (m - 1) + e - b - a)
        for n, m, s, e, b, a in zip(sizes, made, win.strides, win.extent, win.before, win.after, strict=True)
    ]
    rest = [r for r in reach if r is not None]
    if len(rest) == win.rank:
        # Beyond the input's end lie nothing but pads (less is left than a stride) or what ceil_mode reached.
        stated["pads"] = [*win.before, *(a + max(-r, 0) for a, r in zip(win.after, rest, strict=True))]
        return step.op("ConvTranspose", gy, weight, output_padding=[max(r, 0) for r in rest], **stated)
    if set(win.strides) == {1}:
        return step.op("ConvTranspose", gy, weight, **stated)
    stated["output_padding"] = [s - 1 for s in win.strides]
    whole = step.op("ConvTranspose", gy, weight, name="whole", **stated)
    ends = step.op("Slice", step.shape_of(), step.ints(2), step.ints(2 + win.rank), name="ends")
    return step.op("Slice", whole, step.ints(*[0] * win.rank), ends, step.ints(*range(2, 2 + win.rank)))


def seen(step: Step, win: Window) -> str:
    """Which part of each window lies in x, found at run time: the average of ones with zeros around them."""
    sizes = step.op("Slice", step.shape_of(), step.ints(2), step.ints(2 + win.rank), name="sizes")
    one = step.op("Concat", step.ints(1, 1), sizes, name="one", axis=0)
    ones = step.op("Expand", step.const(1), one, name="ones")
    pads = [*win.before, *win.after]
    words = {"kernel_shape": win.kernel, "strides": win.strides, "pads": pads, "count_include_pad": 1}
    return step.op("AveragePool", ones, name="seen", **words)


def counts(step: Step, win: Window) -> Array:
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
