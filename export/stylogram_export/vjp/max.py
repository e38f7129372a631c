"""Max, Min: y = max(a, b, ...) or min; each dx = dy · [x = y] / (how many of them are), as in PyTorch."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Max", "Min")
broadcasts = True


def vjp(step: Step) -> Gradients:
    kind = step.element_type(step.node.output[0])
    count = len(step.node.input)
    equal = [step.op("Equal", step.x(i), step.y(), name="equal") for i in range(count)]
    masks = [step.op("Cast", mask, name="mask", to=kind) for mask in equal]
    share = step.op("Div", step.gy, step.op("Sum", *masks, name="winners"), name="share")
    return {i: step.mul(share, masks[i]) for i in range(count) if step.wants(i)}


examples = [
    Example("Max", [(2, 3, 4, 5), (2, 3, 1, 5)], torch=lambda t, a, b: t.maximum(a, b)),
    Example("Max", [(2, 3, 4, 5), draw(3, 1, 1)], torch=lambda t, a, b: t.maximum(a, b), title="constant"),
    Example("Max", [(2, 3, 4), (2, 3, 4)], levels=3, torch=lambda t, a, b: t.maximum(a, b), title="ties"),
    Example("Min", [(3, 4, 5), (4, 1), (5,)], torch=lambda t, a, b, c: t.minimum(t.minimum(a, b), c)),
]
