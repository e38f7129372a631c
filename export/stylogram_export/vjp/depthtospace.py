"""DepthToSpace: y = x with blocks of channels laid out in space; dx = dy with them gathered again.

In mode CRD the block's place is the fast part of a channel's number, in DCR, which SpaceToDepth undoes, the slow one.
"""

from typing import Any

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("DepthToSpace",)


def vjp(step: Step) -> str:
    block = step.attribute("blocksize")
    gx = step.op("SpaceToDepth", step.gy, blocksize=block)
    if step.attribute("mode", "DCR") == "DCR":
        return gx
    order = np.arange(step.size(1)).reshape(block * block, -1).T.reshape(-1)
    return step.op("Gather", gx, step.ints(*order.tolist()), axis=1)


def _dcr(_: Any, x: Any) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


examples = [
    Example("DepthToSpace", [(2, 12, 2, 3)], {"blocksize": 2}, torch=_dcr),
    Example(
        "DepthToSpace",
        [(2, 12, 2, 3)],
        {"blocksize": 2, "mode": "CRD"},
        torch=lambda t, x: t.nn.functional.pixel_shuffle(x, 2),
        title="pixel shuffle",
    ),
]
