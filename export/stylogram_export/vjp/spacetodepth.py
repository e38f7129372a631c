"""SpaceToDepth: y = x with blocks of positions stacked as channels; dx = dy with them laid out again."""

from typing import Any

from ..rules import Example
from ..step import Step

ops = ("SpaceToDepth",)


def vjp(step: Step) -> str:
    return step.op("DepthToSpace", step.gy, blocksize=step.attribute("blocksize"))


def _same(_: Any, x: Any) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


examples = [Example("SpaceToDepth", [(2, 3, 4, 6)], {"blocksize": 2}, torch=_same)]
