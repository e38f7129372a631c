"""Softmax: y = exp x / Σ exp x along an axis; dx = y · (dy - Σ dy · y)."""

from ..rules import Example
from ..step import Step

ops = ("Softmax",)


def vjp(step: Step) -> str:
    axis = step.ints(step.attribute("axis", -1))
    y = step.y()
    total = step.op("ReduceSum", step.mul(step.gy, y, name="weighted"), axis, name="total", keepdims=1)
    return step.mul(y, step.sub(step.gy, total, name="centred"))


examples = [
    Example("Softmax", [(2, 3, 4, 5)], {"axis": 1}, torch=lambda t, x: t.softmax(x, 1)),
    Example("Softmax", [(4, 7)], torch=lambda t, x: t.softmax(x, -1), title="last"),
]
