"""Neg: y = -x; dx = -dy."""

from ..rules import Example
from ..step import Step

ops = ("Neg",)


def vjp(step: Step) -> str:
    return step.op("Neg", step.gy)


examples = [
    Example("Neg", [(2, 3, 4, 5)], torch=lambda _, x: -x),
]
