"""Pow: y = aᵇ; da = dy · b aᵇ⁻¹, db = dy · y ln a."""

import numpy as np

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Pow",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    b = step.op("Cast", step.x(1), name="exponent", to=step.element_type(step.node.output[0]))
    found: Gradients = {}
    if step.wants(0):
        lower = step.op("Pow", step.x(), step.sub(b, step.const(1), name="less"), name="lower")
        found[0] = step.mul(step.gy, b, lower)
    if step.wants(1):
        found[1] = step.mul(step.gy, step.y(), step.op("Log", step.x(), name="log"))
    return found


examples = [
    Example("Pow", [(2, 3, 4, 5), np.asarray(2.0)], torch=lambda _, a, _b: a * a),
    Example("Pow", [(2, 3, 4, 5), np.asarray([3])], torch=lambda _, a, _b: a * a * a, title="whole number"),
    Example("Pow", [(2, 3, 4, 5), (2, 3, 1, 1)], span=(0.3, 2), torch=lambda _, a, b: a**b, title="both"),
    Example("Pow", [draw(3, 1, 1, low=0.5), (2, 3, 4, 5)], torch=lambda _, a, b: a**b, title="exponential"),
]
