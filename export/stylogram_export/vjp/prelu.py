"""PRelu: y = x if x > 0 else s x, s constant; dx = dy · ([x > 0] + s (1 - [x > 0]))."""

from ..rules import Example, draw
from ..step import Step

ops = ("PRelu",)


def vjp(step: Step) -> str:
    mask = step.positive(step.x())
    below = step.mul(step.sub(step.const(1), mask, name="below"), step.x(1), name="below")
    return step.mul(step.gy, step.add(mask, below, name="slope"))


examples = [
    Example("PRelu", [(2, 3, 4, 5), draw(3, 1, 1)], torch=lambda t, x, s: t.where(x > 0, x, s * x)),
    Example("PRelu", [(2, 3), draw(1)], torch=lambda t, x, s: t.where(x > 0, x, s * x), title="one slope"),
]
