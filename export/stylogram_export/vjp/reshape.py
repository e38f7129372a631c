"""Reshape, Flatten, Squeeze, Unsqueeze: y = x in another shape; dx = dy in the shape of x."""

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def vjp(step: Step) -> str:
    return step.reshape(step.gy)


examples = [
    Example("Reshape", [(2, 3, 4, 5), np.asarray([0, -1, 2])], torch=lambda _, x, _s: x.reshape(2, 30, 2)),
    Example("Flatten", [(2, 3, 4, 5)], {"axis": 2}, torch=lambda _, x: x.reshape(6, 20)),
    Example("Squeeze", [(2, 1, 4, 1), np.asarray([1, -1])], torch=lambda _, x, _a: x[:, 0, :, 0]),
    Example("Squeeze", [(2, 1, 4, 1)], torch=lambda _, x: x.squeeze(), title="all"),
    Example("Unsqueeze", [(2, 3), np.asarray([0, -1])], torch=lambda _, x, _a: x[None, :, :, None]),
]
