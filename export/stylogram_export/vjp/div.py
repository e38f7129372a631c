"""Div: y = a / b; da = dy / b, db = -dy · y / b."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Div",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    share = step.op("Div", step.gy, step.x(1), name="share")
    return {0: share} | ({1: step.op("Neg", step.mul(share, step.y()))} if step.wants(1) else {})


examples = [
    Example("Div", [(2, 3, 4, 5), (2, 3, 1, 1)], span=(0.5, 2), torch=lambda _, a, b: a / b),
    Example("Div", [(2, 3, 4, 5), draw(3, 1, 1, low=1, high=2)], torch=lambda _, a, b: a / b, title="by a constant"),
    Example("Div", [draw(3, 1, 1), (2, 3, 4, 5)], span=(0.5, 2), torch=lambda _, a, b: a / b, title="of a constant"),
]
