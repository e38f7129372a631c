"""HardSigmoid: y = min(max(α x + β, 0), 1); dx = dy · α [0 < y < 1]."""

from ..rules import Example
from ..step import Step

ops = ("HardSigmoid",)


def vjp(step: Step) -> str:
    y = step.y()
    rising = step.mul(step.positive(y), step.positive(step.sub(step.const(1), y, name="rest")), name="rising")
    return step.mul(step.gy, rising, step.const(step.attribute("alpha", 0.2)))


examples = [
    Example("HardSigmoid", [(2, 3, 4, 5)], span=(-4, 4), torch=lambda _, x: (0.2 * x + 0.5).clamp(0, 1)),
    Example(
        "HardSigmoid",
        [(2, 3, 4, 5)],
        {"alpha": 0.75, "beta": 0.25},
        torch=lambda _, x: (0.75 * x + 0.25).clamp(0, 1),
        title="slope",
    ),
]
