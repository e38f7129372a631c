"""Exp: y = exp x; dx = dy · y."""

from ..rules import Example
from ..step import Step

ops = ("Exp",)


def vjp(step: Step) -> str:
    return step.mul(step.gy, step.y())


examples = [
    Example("Exp", [(2, 3, 4, 5)], torch=lambda t, x: t.exp(x)),
]
