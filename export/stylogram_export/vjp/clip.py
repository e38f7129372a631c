"""Clip: y = min(max(x, lo), hi); dx = dy · [lo < y < hi], 0 at the bounds as for Relu."""

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Clip",)


def vjp(step: Step) -> str:
    gx = step.gy
    if step.has(1):
        gx = step.mul(gx, step.positive(step.sub(step.y(), step.x(1), name="above")))
    if step.has(2):
        gx = step.mul(gx, step.positive(step.sub(step.x(2), step.y(), name="below")))
    return gx


def _bound(value: float) -> "np.ndarray[tuple[()], np.dtype[np.float64]]":
    return np.asarray(value, np.float64)


examples = [
    Example("Clip", [(2, 3, 4, 5), _bound(-0.5), _bound(1.2)], torch=lambda _, x, lo, hi: x.clamp(lo, hi)),
    Example("Clip", [(2, 3, 4, 5), _bound(0)], torch=lambda t, x, _lo: t.relu(x), title="below"),
    Example("Clip", [(2, 3, 4, 5), None, _bound(1)], torch=lambda _, x, hi: x.clamp(max=hi), title="above"),
    Example("Clip", [(2, 3, 4, 5)], torch=lambda _, x: x * 1, title="open"),
]
