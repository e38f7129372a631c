"""Cos: y = cos x; dx = -dy · sin x."""

from ..rules import Example
from ..step import Step

ops = ("Cos",)


def vjp(step: Step) -> str:
    return step.op("Neg", step.mul(step.gy, step.op("Sin", step.x(), name="sin")))


examples = [
    Example("Cos", [(2, 3, 4, 5)], torch=lambda t, x: t.cos(x)),
]
