"""Softplus: y = ln(1 + exp x); dx = dy · sigmoid x."""

from ..rules import Example
from ..step import Step

ops = ("Softplus",)


def vjp(step: Step) -> str:
    return step.mul(step.gy, step.op("Sigmoid", step.x(), name="slope"))


examples = [
    Example("Softplus", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.softplus(x)),
]
