"""Selu: y = γ x if x > 0 else γ α (exp x - 1); dx = dy · (γ if x > 0 else y + γ α)."""

from ..rules import Example
from ..step import Step

ops = ("Selu",)
ALPHA, GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def vjp(step: Step) -> str:
    alpha, gamma = step.attribute("alpha", ALPHA), step.attribute("gamma", GAMMA)
    mask = step.positive(step.x())
    curve = step.add(step.y(), step.const(gamma * alpha), name="curve")
    below = step.mul(curve, step.sub(step.const(1), mask, name="below"), name="below")
    return step.mul(step.gy, step.add(step.mul(mask, step.const(gamma), name="above"), below, name="slope"))


examples = [
    Example("Selu", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.selu(x)),
]
