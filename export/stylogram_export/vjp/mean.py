"""Mean: y = (a + b + ...) / n; da = dy / n, db = dy / n."""

from ..rules import Example
from ..step import Gradients, Step

ops = ("Mean",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    count = len(step.node.input)
    return dict.fromkeys(range(count), step.mul(step.gy, step.const(1 / count)))


examples = [
    Example("Mean", [(2, 3, 4, 5), (3, 1, 1), (5,)], torch=lambda _, a, b, c: (a + b + c) / 3),
]
