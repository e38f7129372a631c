"""ReduceSum: y = Σ x over axes; dx = dy, repeated. ReduceMean: y = Σ x / n; dx = dy / n, repeated."""

import numpy as np

from ..reductions import kept, reduced
from ..rules import Example
from ..step import Step

ops = ("ReduceSum", "ReduceMean")


def vjp(step: Step) -> str:
    axes = reduced(step)
    gy = kept(step, step.gy, axes)
    if step.node.op_type == "ReduceMean" and axes:
        gy = step.op("Div", gy, step.count(*axes), name="share")
    return step.op("Expand", gy, step.shape_of())


AXES = np.asarray([1, -1])

examples = [
    Example("ReduceSum", [(2, 3, 4, 5), AXES], torch=lambda _, x, _a: x.sum((1, 3), keepdim=True)),
    Example("ReduceSum", [(2, 3, 4), AXES], {"keepdims": 0}, torch=lambda _, x, _a: x.sum((1, 2)), title="dropped"),
    Example("ReduceSum", [(2, 3, 4)], torch=lambda _, x: x.sum((0, 1, 2), keepdim=True), title="all"),
    Example("ReduceSum", [(2, 3, 4)], {"noop_with_empty_axes": 1}, torch=lambda _, x: x * 1, title="none"),
    Example("ReduceMean", [(2, 3, 4, 5), AXES], torch=lambda _, x, _a: x.mean((1, 3), keepdim=True)),
    Example("ReduceMean", [(2, 3, 4)], {"keepdims": 0}, torch=lambda _, x: x.mean(), title="all"),
]
