"""Erf: y = erf x; dx = dy · 2/√π · exp(-x²)."""

import math

from ..rules import Example
from ..step import Step

ops = ("Erf",)


def vjp(step: Step) -> str:
    square = step.mul(step.x(), step.x(), name="square")
    bell = step.op("Exp", step.op("Neg", square, name="minus"), name="bell")
    return step.mul(step.gy, bell, step.const(2 / math.sqrt(math.pi)))


examples = [
    Example("Erf", [(2, 3, 4, 5)], torch=lambda t, x: t.erf(x)),
]
