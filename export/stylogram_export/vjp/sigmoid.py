"""Sigmoid: y = 1 / (1 + exp(-x)); dx = dy · y (1 - y)."""

from ..rules import Example
from ..step import Step

ops = ("Sigmoid",)


def vjp(step: Step) -> str:
    y = step.y()
    return step.mul(step.gy, y, step.sub(step.const(1), y, name="rest"))


examples = [
    Example("Sigmoid", [(2, 3, 4, 5)], torch=lambda t, x: t.sigmoid(x)),
]
