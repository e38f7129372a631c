"""Split: [y0, y1, ...] = x along an axis; dx = [dy0, dy1, ...], zeros for a part that nobody used."""

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Split",)


def vjp(step: Step) -> str:
    parts = [step.zeros_y(i) if gradient is None else gradient for i, gradient in enumerate(step.gradients)]
    return step.op("Concat", *parts, axis=step.attribute("axis", 0))


examples = [
    Example("Split", [(2, 6, 4, 5)], {"axis": 1, "num_outputs": 3}, torch=lambda _, x: x.split(2, 1), outputs=3),
    Example(
        "Split",
        [(2, 7, 4, 5)],
        {"axis": 1, "num_outputs": 3},
        torch=lambda _, x: x.split(3, 1),
        outputs=3,
        title="rest",
    ),
    Example(
        "Split",
        [(2, 3, 7), np.asarray([4, 1, 2])],
        {"axis": -1},
        torch=lambda _, x, _s: x.split([4, 1, 2], -1),
        outputs=3,
        title="sizes",
    ),
]
