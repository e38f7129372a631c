"""Reciprocal: y = 1 / x; dx = -dy · y²."""

from ..rules import Example
from ..step import Step

ops = ("Reciprocal",)


def vjp(step: Step) -> str:
    return step.op("Neg", step.mul(step.gy, step.y(), step.y()))


examples = [
    Example("Reciprocal", [(2, 3, 4, 5)], torch=lambda _, x: 1 / x, span=(0.2, 3)),
]
