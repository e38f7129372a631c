"""LogSoftmax: y = x - ln Σ exp x along an axis; dx = dy - exp y · Σ dy."""

from ..rules import Example
from ..step import Step

ops = ("LogSoftmax",)


def vjp(step: Step) -> str:
    total = step.op("ReduceSum", step.gy, step.ints(step.attribute("axis", -1)), name="total", keepdims=1)
    return step.sub(step.gy, step.mul(step.op("Exp", step.y(), name="softmax"), total, name="part"))


examples = [
    Example("LogSoftmax", [(2, 3, 4, 5)], {"axis": 1}, torch=lambda t, x: t.log_softmax(x, 1)),
    Example("LogSoftmax", [(4, 7)], torch=lambda t, x: t.log_softmax(x, -1), title="last"),
]
