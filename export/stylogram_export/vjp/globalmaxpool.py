"""GlobalMaxPool: y = max of x over its positions; dx = dy at the first maximum, 0 elsewhere."""

from typing import Any

from ..rules import Example
from ..step import Step

ops = ("GlobalMaxPool",)


def vjp(step: Step) -> str:
    rows = step.ints(0, 0, -1)  # (N, C, positions)
    x, gy = step.op("Reshape", step.x(), rows, name="rows"), step.op("Reshape", step.gy, rows, name="gy")
    where = step.op("ArgMax", x, name="where", axis=2, keepdims=1)
    zeros = step.op("Reshape", step.zeros(), rows, name="zeros")
    return step.reshape(step.op("ScatterElements", zeros, where, gy, name="placed", axis=2))


def _first(t: Any, x: Any) -> Any:
    return t.nn.functional.max_pool2d(x, x.shape[2:])


examples = [
    Example("GlobalMaxPool", [(2, 3, 4, 5)], torch=_first),
    Example("GlobalMaxPool", [(2, 3, 4, 5)], levels=4, torch=_first, title="ties"),
    Example("GlobalMaxPool", [(2, 3, 4)], torch=lambda _, x: x.amax(2, keepdim=True), title="one axis"),
]
