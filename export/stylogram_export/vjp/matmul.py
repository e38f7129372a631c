"""MatMul: Y = A B over the last two axes; dA = dY Bᵀ, dB = Aᵀ dY, summed over what was broadcast."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("MatMul",)


def vjp(step: Step) -> Gradients:
    a_rank, b_rank = len(step.shape(0)), len(step.shape(1))
    gy = step.gy  # with the axes that a vector lost
    if b_rank == 1:
        gy = step.op("Unsqueeze", gy, step.ints(-1), name="column")
    if a_rank == 1:
        gy = step.op("Unsqueeze", gy, step.ints(-2), name="row")
    found: Gradients = {}
    if step.wants(0):
        b = step.op("Unsqueeze", step.x(1), step.ints(1), name="b") if b_rank == 1 else step.x(1)
        found[0] = _restored(step, step.op("MatMul", gy, _turned(step, b, max(b_rank, 2))), 0)
    if step.wants(1):
        a = step.op("Unsqueeze", step.x(0), step.ints(0), name="a") if a_rank == 1 else step.x(0)
        found[1] = _restored(step, step.op("MatMul", _turned(step, a, max(a_rank, 2)), gy), 1)
    return found


def _turned(step: Step, matrix: str, rank: int) -> str:
    return step.op("Transpose", matrix, name="turned", perm=[*range(rank - 2), rank - 1, rank - 2])


def _restored(step: Step, gradient: str, i: int) -> str:
    """Summed over batch axes that were broadcast, in the shape of the input."""
    other = step.shape(1 - i)
    own = step.shape(i)
    batch = max(len(other) - 2, len(own) - 2, 0)
    mine = (1,) * (batch - max(len(own) - 2, 0)) + own[:-2]
    theirs = (1,) * (batch - max(len(other) - 2, 0)) + other[:-2]
    summed = [axis for axis, (m, t) in enumerate(zip(mine, theirs, strict=True)) if m == 1 and t != 1]
    if any(m is None and t != 1 and m is not t for m, t in zip(mine, theirs, strict=True)):
        step.fixed(i)  # says which size has to be known
    if summed:
        gradient = step.op("ReduceSum", gradient, step.ints(*summed), name="sum", keepdims=1)
    return step.reshape(gradient, i) if summed or len(own) == 1 or batch > max(len(own) - 2, 0) else gradient


examples = [
    Example("MatMul", [(3, 4), draw(4, 5)], torch=lambda _, a, b: a @ b),
    Example("MatMul", [draw(3, 4), (4, 5)], torch=lambda _, a, b: a @ b, title="constant first"),
    Example("MatMul", [(2, 1, 3, 4), (5, 4, 2)], torch=lambda _, a, b: a @ b, title="broadcast"),
    Example("MatMul", [(3, 4), (2, 1, 4, 2)], torch=lambda _, a, b: a @ b, title="broadcast matrix"),
    Example("MatMul", [(4,), (2, 4, 3)], torch=lambda _, a, b: a @ b, title="vector first"),
    Example("MatMul", [(2, 3, 4), (4,)], torch=lambda _, a, b: a @ b, title="vector second"),
    Example("MatMul", [(4,), (4,)], torch=lambda _, a, b: a @ b, title="vectors"),
]
