"""Elu: y = x if x > 0 else α (exp x - 1); dx = dy · (1 if x > 0 else y + α)."""

from ..rules import Example
from ..step import Step

ops = ("Elu",)


def vjp(step: Step) -> str:
    mask = step.positive(step.x())
    curve = step.add(step.y(), step.const(step.attribute("alpha", 1.0)), name="curve")
    below = step.mul(curve, step.sub(step.const(1), mask, name="below"), name="below")
    return step.mul(step.gy, step.add(mask, below, name="slope"))


examples = [
    Example("Elu", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.elu(x)),
    Example("Elu", [(2, 3, 4, 5)], {"alpha": 0.5}, torch=lambda t, x: t.nn.functional.elu(x, 0.5), title="scale"),
]
