"""Relu: y = max(x, 0); dx = dy · [x > 0], 0 at 0 as in PyTorch.

`deconvnet` passes the positive part of the gradient instead (Zeiler and Fergus 2014); `guided` the positive part where
the input was positive too (Springenberg et al. 2015).
"""

from ..rules import Example
from ..step import Step

ops = ("Relu",)


def vjp(step: Step) -> str:
    if step.relu == "deconvnet":
        return step.op("Relu", step.gy)
    gy = step.op("Relu", step.gy, name="positive") if step.relu == "guided" else step.gy
    return step.mul(gy, step.positive(step.y()))


examples = [Example("Relu", [(2, 3, 4, 5)], torch=lambda t, x: t.relu(x))]
