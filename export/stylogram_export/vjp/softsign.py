"""Softsign: y = x / (1 + |x|); dx = dy / (1 + |x|)²."""

from ..rules import Example
from ..step import Step

ops = ("Softsign",)


def vjp(step: Step) -> str:
    size = step.add(step.op("Abs", step.x(), name="abs"), step.const(1), name="size")
    return step.op("Div", step.gy, step.mul(size, size, name="square"))


examples = [
    Example("Softsign", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.softsign(x)),
]
