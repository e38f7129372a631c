"""LeakyRelu: y = x if x > 0 else α x; dx = dy · (α + (1 - α) [x > 0])."""

from ..rules import Example
from ..step import Step

ops = ("LeakyRelu",)


def vjp(step: Step) -> str:
    alpha = step.attribute("alpha", 0.01)
    slope = step.add(step.mul(step.positive(step.x()), step.const(1 - alpha)), step.const(alpha), name="slope")
    return step.mul(step.gy, slope)


examples = [
    Example("LeakyRelu", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.leaky_relu(x, 0.01)),
    Example(
        "LeakyRelu",
        [(2, 3, 4, 5)],
        {"alpha": 0.3},
        torch=lambda t, x: t.nn.functional.leaky_relu(x, 0.3),
        title="slope",
    ),
]
