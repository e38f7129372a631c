"""Expand: y = x repeated to a shape; dx = dy summed over the repetitions."""

import numpy as np

from ..broadcast import unbroadcast
from ..rules import Example
from ..step import Step

ops = ("Expand",)


def vjp(step: Step) -> str:
    return unbroadcast(step, step.gy, 0, stretched=True)


examples = [
    Example("Expand", [(2, 3, 1, 1), np.asarray([2, 3, 4, 5])], torch=lambda _, x, _s: x.expand(2, 3, 4, 5)),
    Example("Expand", [(3, 1), np.asarray([2, 1, 4])], torch=lambda _, x, _s: x.expand(2, 3, 4), title="more axes"),
]
