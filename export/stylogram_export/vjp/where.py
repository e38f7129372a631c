"""Where: y = a if c else b; da = dy · [c], db = dy · [not c]."""

import numpy as np

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Where",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    found: Gradients = {}
    if step.wants(1):
        found[1] = step.op("Where", step.x(0), step.gy, step.const(0))
    if step.wants(2):
        found[2] = step.op("Where", step.x(0), step.const(0), step.gy)
    return found


CHOICE = np.arange(60).reshape(3, 4, 5) % 7 < 3

examples = [
    Example("Where", [CHOICE, (2, 3, 4, 5), (4, 1)], torch=lambda t, c, a, b: t.where(c, a, b)),
    Example("Where", [CHOICE, draw(1), (2, 3, 4, 5)], torch=lambda t, c, a, b: t.where(c, a, b), title="constant"),
]
