"""Abs: y = |x|; dx = dy · sign x."""

from ..rules import Example
from ..step import Step

ops = ("Abs",)


def vjp(step: Step) -> str:
    return step.mul(step.gy, step.op("Sign", step.x(), name="sign"))


examples = [
    Example("Abs", [(2, 3, 4, 5)], torch=lambda t, x: t.abs(x)),
]
