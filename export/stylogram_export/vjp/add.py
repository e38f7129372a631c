"""Add and Sum: y = a + b + ...; da = dy, db = dy."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Add", "Sum")
broadcasts = True


def vjp(step: Step) -> Gradients:
    return dict.fromkeys(range(len(step.node.input)), step.gy)


examples = [
    Example("Add", [(2, 3, 4, 5), (2, 3, 4, 5)], torch=lambda _, a, b: a + b),
    Example("Add", [(3, 1, 5), (2, 1, 4, 1)], torch=lambda _, a, b: a + b, title="broadcast both ways"),
    Example("Add", [(2, 3, 4, 5), draw(3, 1, 1)], torch=lambda _, a, b: a + b, title="constant"),
    Example("Sum", [(2, 3, 4, 5), (3, 1, 5), (1,)], torch=lambda _, a, b, c: a + b + c),
    Example("Sum", [(2, 3, 4, 5)], torch=lambda _, a: a * 1, title="one"),
]
