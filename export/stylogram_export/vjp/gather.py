"""Gather: y = x at indices along an axis; dx = dy added up at the indices, 0 elsewhere."""

import math

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Gather",)


def vjp(step: Step) -> str:
    shape = step.fixed()
    axis = step.attribute("axis", 0) % len(shape)
    outer, size, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    indices = step.constant(1).reshape(1, -1, 1) % size
    every = step.tape.const(np.ascontiguousarray(np.broadcast_to(indices, (outer, indices.size, inner))), "indices")
    gy = step.op("Reshape", step.gy, step.ints(outer, -1, inner), name="rows")
    zeros = step.op("ConstantOfShape", step.ints(outer, size, inner), name="zeros", value=step.scalar(0))
    return step.reshape(step.op("ScatterElements", zeros, every, gy, name="sum", axis=1, reduction="add"))


examples = [
    Example("Gather", [(2, 3, 4, 5), np.asarray([2, 0, -1, 2])], {"axis": 1}, torch=lambda _, x, i: x[:, i]),
    Example("Gather", [(4, 5), np.asarray([[1, 1], [3, 0]])], torch=lambda _, x, i: x[i], title="table"),
    Example("Gather", [(2, 3, 4), np.asarray(1)], {"axis": -1}, torch=lambda _, x, _i: x[..., 1], title="one"),
]
