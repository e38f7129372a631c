"""ThresholdedRelu: y = x if x > α else 0; dx = dy · [x > α]."""

from ..rules import Example
from ..step import Step

ops = ("ThresholdedRelu",)


def vjp(step: Step) -> str:
    above = step.sub(step.x(), step.const(step.attribute("alpha", 1.0)), name="above")
    return step.mul(step.gy, step.positive(above))


examples = [
    Example("ThresholdedRelu", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.threshold(x, 1, 0)),
]
