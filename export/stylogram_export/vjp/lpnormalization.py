"""LpNormalization: y = x / |x| along an axis; dx = (dy - d · Σ dy · y) / |x|, d = y for p = 2, sign x for p = 1."""

from ..rules import Example
from ..step import Step

ops = ("LpNormalization",)


def vjp(step: Step) -> str:
    axis, p, y = step.ints(step.attribute("axis", -1)), step.attribute("p", 2), step.y()
    norm = step.op(f"ReduceL{p}", step.x(), axis, name="norm", keepdims=1)
    total = step.op("ReduceSum", step.mul(step.gy, y, name="product"), axis, name="total", keepdims=1)
    along = y if p == 2 else step.op("Sign", step.x(), name="sign")
    return step.op("Div", step.sub(step.gy, step.mul(along, total, name="along")), norm)


examples = [
    Example("LpNormalization", [(2, 3, 4, 5)], {"axis": 1}, torch=lambda t, x: t.nn.functional.normalize(x, 2, 1)),
    Example("LpNormalization", [(4, 5)], {"p": 1}, torch=lambda t, x: t.nn.functional.normalize(x, 1, -1), title="one"),
]
