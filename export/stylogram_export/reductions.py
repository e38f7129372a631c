"""What the gradients of all Reduce ops share."""

from .step import Step


def reduced(step: Step) -> list[int]:
    """The axes that a Reduce op sums over, in order; none if it does nothing."""
    rank = len(step.shape())
    axes = [int(axis) % rank for axis in step.constant(1).reshape(-1)] if step.has(1) else []
    if not axes and not step.attribute("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted(axes)


def kept(step: Step, tensor: str, axes: list[int]) -> str:
    """A tensor shaped like the output, with the reduced axes as sizes of 1."""
    if step.attribute("keepdims", 1) or not axes:
        return tensor
    return step.op("Unsqueeze", tensor, step.ints(*axes), name="kept")
