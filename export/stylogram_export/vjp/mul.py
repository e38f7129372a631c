"""Mul: y = a b; da = dy · b, db = dy · a."""

from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Mul",)
broadcasts = True


def vjp(step: Step) -> Gradients:
    return {i: step.mul(step.gy, step.x(1 - i)) for i in (0, 1) if step.wants(i)}


examples = [
    Example("Mul", [(2, 3, 4, 5), (2, 3, 1, 1)], torch=lambda _, a, b: a * b),
    Example("Mul", [(2, 1, 4, 1), (3, 1, 5)], torch=lambda _, a, b: a * b, title="broadcast both ways"),
    Example("Mul", [(2, 3, 4, 5), draw(3, 1, 1)], torch=lambda _, a, b: a * b, title="constant"),
]
