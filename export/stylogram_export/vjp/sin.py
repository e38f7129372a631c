"""Sin: y = sin x; dx = dy · cos x."""

from ..rules import Example
from ..step import Step

ops = ("Sin",)


def vjp(step: Step) -> str:
    return step.mul(step.gy, step.op("Cos", step.x(), name="cos"))


examples = [
    Example("Sin", [(2, 3, 4, 5)], torch=lambda t, x: t.sin(x)),
]
