"""ReduceMax, ReduceMin: y = max x or min x over axes; dx = dy · [x = y] / (how many are), as in PyTorch's amax."""

import numpy as np

from ..reductions import kept, reduced
from ..rules import Example
from ..step import Step

ops = ("ReduceMax", "ReduceMin")


def vjp(step: Step) -> str:
    axes = reduced(step)
    if not axes:
        return step.gy
    equal = step.op("Equal", step.x(), kept(step, step.y(), axes), name="equal")
    mask = step.op("Cast", equal, name="mask", to=step.element_type(step.node.output[0]))
    winners = step.op("ReduceSum", mask, step.ints(*axes), name="winners", keepdims=1)
    return step.mul(step.op("Div", kept(step, step.gy, axes), winners, name="share"), mask)


AXES = np.asarray([1, -1])

examples = [
    Example("ReduceMax", [(2, 3, 4, 5), AXES], torch=lambda _, x, _a: x.amax((1, 3), keepdim=True)),
    Example("ReduceMax", [(2, 3, 4), AXES], levels=3, torch=lambda _, x, _a: x.amax((1, 2), True), title="ties"),
    Example("ReduceMin", [(2, 3, 4), AXES], {"keepdims": 0}, torch=lambda _, x, _a: x.amin((1, 2))),
]
