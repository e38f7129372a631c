"""Transpose: y = x with its axes in another order; dx = dy with them back."""

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Transpose",)


def vjp(step: Step) -> str:
    order = step.attribute("perm", list(reversed(range(len(step.shape())))))
    return step.op("Transpose", step.gy, perm=np.argsort(order).tolist())


examples = [
    Example("Transpose", [(2, 3, 4, 5)], {"perm": [0, 2, 3, 1]}, torch=lambda _, x: x.permute(0, 2, 3, 1)),
    Example("Transpose", [(2, 3, 4)], torch=lambda _, x: x.permute(2, 1, 0), title="reversed"),
]
