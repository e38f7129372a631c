"""Celu: y = x if x > 0 else α (exp(x / α) - 1); dx = dy · (1 if x > 0 else y / α + 1)."""

from ..rules import Example
from ..step import Step

ops = ("Celu",)


def vjp(step: Step) -> str:
    mask = step.positive(step.x())
    scaled = step.mul(step.y(), step.const(1 / step.attribute("alpha", 1.0)), name="scaled")
    below = step.mul(
        step.add(scaled, step.const(1), name="curve"), step.sub(step.const(1), mask, name="below"), name="below"
    )
    return step.mul(step.gy, step.add(mask, below, name="slope"))


examples = [
    Example("Celu", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.celu(x)),
    Example("Celu", [(2, 3, 4, 5)], {"alpha": 0.5}, torch=lambda t, x: t.nn.functional.celu(x, 0.5), title="scale"),
]
