"""Concat: y = [a, b, ...] along an axis; da, db, ... = the parts of dy."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Concat",)


def vjp(step: Step) -> Gradients:
    axis = step.attribute("axis")
    count = len(step.node.input)
    sizes = [step.size(axis, i) for i in range(count)]
    parts = step.ops("Split", step.gy, step.ints(*sizes), names=[f"part{i}" for i in range(count)], axis=axis)
    return dict(enumerate(parts))


examples = [
    Example("Concat", [(2, 3, 4, 5), (2, 1, 4, 5)], {"axis": 1}, torch=lambda t, a, b: t.cat([a, b], 1)),
    Example("Concat", [(2, 3), draw(2, 4), (2, 1)], {"axis": -1}, torch=lambda t, *x: t.cat(x, -1), title="constant"),
    Example("Concat", [(2, 3, 1, 2)], {"axis": 0}, torch=lambda _, a: a * 1, title="one"),
]
