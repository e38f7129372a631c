"""Sqrt: y = √x; dx = dy / (2 y)."""

from ..rules import Example
from ..step import Step

ops = ("Sqrt",)


def vjp(step: Step) -> str:
    return step.op("Div", step.gy, step.mul(step.y(), step.const(2), name="twice"))


examples = [
    Example("Sqrt", [(2, 3, 4, 5)], torch=lambda t, x: t.sqrt(x), span=(0.2, 3)),
]
