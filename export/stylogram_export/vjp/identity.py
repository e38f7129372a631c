"""Identity, and Dropout at inference: y = x; dx = dy."""

import numpy as np

from ..errors import Error
from ..graph import describe
from ..rules import Example
from ..step import Step

ops = ("Identity", "Dropout")


def vjp(step: Step) -> str:
    if step.node.op_type == "Dropout" and step.has(2) and bool(step.constant(2)):
        raise Error(f"{describe(step.node)} is in training mode, which draws random numbers")
    return step.gy


examples = [
    Example("Identity", [(2, 3, 4, 5)], torch=lambda _, x: x * 1),
    Example("Dropout", [(2, 3, 4, 5), np.asarray(0.5, np.float32)], torch=lambda _, x, _r: x * 1),
    Example("Dropout", [(2, 3, 4, 5), None, np.asarray(False)], title="mode said"),
]
