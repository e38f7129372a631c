"""Tanh: y = tanh x; dx = dy · (1 - y²)."""

from ..rules import Example
from ..step import Step

ops = ("Tanh",)


def vjp(step: Step) -> str:
    y = step.y()
    return step.mul(step.gy, step.sub(step.const(1), step.mul(y, y, name="square"), name="slope"))


examples = [
    Example("Tanh", [(2, 3, 4, 5)], torch=lambda t, x: t.tanh(x)),
]
