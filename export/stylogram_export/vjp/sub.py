"""Sub: y = a - b; da = dy, db = -dy."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Sub",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    return {0: step.gy} | ({1: step.op("Neg", step.gy)} if step.wants(1) else {})


examples = [
    Example("Sub", [(2, 3, 4, 5), (3, 1, 1)], torch=lambda _, a, b: a - b),
    Example("Sub", [draw(4, 1), (2, 3, 4, 5)], torch=lambda _, a, b: a - b, title="constant"),
]
