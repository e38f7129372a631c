"""Summing a gradient back to the shape of an input that was stretched."""

from .step import Step


def unbroadcast(step: Step, gradient: str, i: int, stretched: bool = False) -> str:
    """A gradient shaped like the output, summed to the shape of input `i`.

    Where sizes are open, the axes to sum over are found at run time, unless no other input can have stretched this one;
    `stretched` says that something else (Expand's shape) can have.
    """
    x, y = step.shape(i), step.shape_y()
    extra = len(y) - len(x)
    aligned = list(enumerate(x, start=extra))
    summed = [*range(extra), *(axis for axis, size in aligned if size == 1 and y[axis] != 1)]
    if summed:
        gradient = step.op("ReduceSum", gradient, step.ints(*summed), name="sum", keepdims=1)
    if any(size is None and y[axis] != 1 for axis, size in aligned) and (stretched or not _alone(step, i)):
        gradient = _sum_open(step, gradient, i)
    return step.reshape(gradient, i) if extra else gradient


def _alone(step: Step, i: int) -> bool:
    """Whether no other input can stretch this one: where its size is open, theirs are 1, or they are it itself."""
    x, mine = step.shape(i), step.node.input[i]
    for j, name in enumerate(step.node.input):
        if name in ("", mine):
            continue
        other = (1,) * (len(x) - len(step.shape(j))) + step.shape(j)
        if len(other) > len(x) or any(a is None and b != 1 for a, b in zip(x, other, strict=True)):
            return False
    return True


def _sum_open(step: Step, gradient: str, i: int) -> str:
    """Sums over the axes on which the sizes turn out to differ at run time."""
    own, whole = step.op("Shape", step.x(i), name="own"), step.op("Shape", gradient, name="whole")
    extra = len(step.shape_y()) - len(step.shape(i))
    if extra:
        own = step.op("Concat", step.ints(*[1] * extra), own, name="own", axis=0)
    differ = step.op("Not", step.op("Equal", own, whole, name="equal"), name="differ")
    axes = step.op("Reshape", step.op("NonZero", differ, name="axes"), step.ints(-1), name="axes")
    return step.op("ReduceSum", gradient, axes, name="sum", keepdims=1, noop_with_empty_axes=1)
