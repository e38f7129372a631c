"""ReduceL2: y = √Σ x²; dx = dy · x / y (0 where y is). ReduceL1: y = Σ |x|; dx = dy · sign x.
ReduceSumSquare: y = Σ x²; dx = 2 dy · x. ReduceLogSumExp: y = ln Σ exp x; dx = dy · exp(x - y).
"""

import numpy as np

from ..reductions import kept, reduced
from ..rules import Example
from ..step import Step

ops = ("ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceLogSumExp")


def vjp(step: Step) -> str:
    axes = reduced(step)
    gy, x = kept(step, step.gy, axes), step.x()
    if step.node.op_type == "ReduceL1":
        return step.mul(gy, step.op("Sign", x, name="sign"))
    if step.node.op_type == "ReduceSumSquare":
        return step.mul(gy, x, step.const(2))
    y = kept(step, step.y(), axes)
    if step.node.op_type == "ReduceLogSumExp":
        return step.mul(gy, step.op("Exp", step.sub(x, y, name="log"), name="softmax"))
    tiny = step.const(np.finfo(step.dtype).tiny)
    return step.mul(gy, step.op("Div", x, step.op("Max", y, tiny, name="norm"), name="direction"))


AXES = np.asarray([1, -1])

examples = [
    Example("ReduceL2", [(2, 3, 4, 5), AXES], torch=lambda t, x, _a: t.linalg.vector_norm(x, 2, (1, 3), True)),
    Example("ReduceL1", [(2, 3, 4), AXES], {"keepdims": 0}, torch=lambda _, x, _a: x.abs().sum((1, 2))),
    Example("ReduceSumSquare", [(2, 3, 4), AXES], torch=lambda _, x, _a: (x * x).sum((1, 2), keepdim=True)),
    Example("ReduceLogSumExp", [(2, 3, 4), AXES], {"keepdims": 0}, torch=lambda _, x, _a: x.logsumexp((1, 2))),
]
