"""Parts of a gradient along one axis: taken out, turned round, put among zeros."""

from .step import Step

FAR = 2**31 - 1  # what exporters write for "to the end"


def part(step: Step, gradient: str, axis: int, start: int, end: int, stride: int = 1) -> str:
    """gradient[start:end:stride] along an axis."""
    words = (step.ints(start), step.ints(end), step.ints(axis), step.ints(stride))
    return step.op("Slice", gradient, *words, name="part")


def turned(step: Step, gradient: str, axis: int) -> str:
    """The other way round along an axis."""
    return part(step, gradient, axis, -1, -FAR, -1)


def put(step: Step, gradient: str, axis: int, before: int, after: int) -> str:
    """With so many zeros before and after it along an axis."""
    if not (before or after):
        return gradient
    return step.op("Pad", gradient, step.ints(before, after), "", step.ints(axis), name="put")
