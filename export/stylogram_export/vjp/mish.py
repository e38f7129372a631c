"""Mish: y = x t, t = tanh(ln(1 + exp x)); dx = dy · (t + x (1 - t²) sigmoid x)."""

from ..rules import Example
from ..step import Step

ops = ("Mish",)


def vjp(step: Step) -> str:
    x = step.x()
    t = step.op("Tanh", step.op("Softplus", x, name="softplus"), name="t")
    rest = step.sub(step.const(1), step.mul(t, t, name="square"), name="rest")
    ramp = step.mul(x, rest, step.op("Sigmoid", x, name="sigmoid"), name="ramp")
    return step.mul(step.gy, step.add(t, ramp, name="slope"))


examples = [
    Example("Mish", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.mish(x)),
]
