"""Pad: y = x with values around it; dx = the middle of dy, plus, for `reflect` and `edge`, what the borders copied.

A border that mirrors x is turned round and added where it came from; one that repeats the outermost element, summed
onto that. Negative pads cut away: there dx = 0.
"""

from typing import Any

import numpy as np

from ..rules import Example
from ..step import Step

ops = ("Pad",)
FAR = 2**31 - 1


def vjp(step: Step) -> str:
    gx = step.gy
    mode = step.attribute("mode", "constant")
    for axis, before, after in _pads(step):
        grown = (max(before, 0), max(after, 0))
        parts = [_slice(step, gx, axis, grown[0], -grown[1] or FAR)] if any(grown) else [gx]
        if mode != "constant" and any(grown):
            size = step.size(axis) + min(before, 0) + min(after, 0)  # of the middle
            parts += _borders(step, gx, axis, grown, size, mode)
        gx = step.add(parts[0], parts[1], *parts[2:]) if len(parts) > 1 else parts[0]
        gx = _put(step, gx, axis, max(-before, 0), max(-after, 0))
    return gx


def _pads(step: Step) -> list[tuple[int, int, int]]:
    """Each padded axis with how much goes before and after it."""
    pads, rank = step.constant(1).tolist(), len(step.shape())
    axes = (step.constant(3) % rank).tolist() if step.has(3) else list(range(rank))
    found = zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True)
    return [(axis, before, after) for axis, before, after in found if before or after]


def _borders(step: Step, gy: str, axis: int, pads: tuple[int, int], size: int, mode: str) -> list[str]:
    """What the two borders give back, each in the size of the middle."""
    before, after = pads
    found = []
    if before and mode == "reflect":
        found.append(_put(step, _slice(step, gy, axis, before - 1, -FAR, -1), axis, 1, size - 1 - before))
    elif before:
        found.append(_put(step, _total(step, _slice(step, gy, axis, 0, before), axis), axis, 0, size - 1))
    if after and mode == "reflect":
        found.append(_put(step, _slice(step, gy, axis, -1, -after - 1, -1), axis, size - 1 - after, 1))
    elif after:
        found.append(_put(step, _total(step, _slice(step, gy, axis, -after, FAR), axis), axis, size - 1, 0))
    return found


def _slice(step: Step, gy: str, axis: int, start: int, end: int, stride: int = 1) -> str:
    words = (step.ints(start), step.ints(end), step.ints(axis), step.ints(stride))
    return step.op("Slice", gy, *words, name="part")


def _total(step: Step, part: str, axis: int) -> str:
    return step.op("ReduceSum", part, step.ints(axis), name="total", keepdims=1)


def _put(step: Step, part: str, axis: int, before: int, after: int) -> str:
    if not (before or after):
        return part
    return step.op("Pad", part, step.ints(before, after), "", step.ints(axis), name="put")


def _case(mode: str, torch_mode: str, pads: list[int], title: str = "") -> Example:
    def same(t: Any, x: Any, _: Any) -> Any:
        return t.nn.functional.pad(x, [pads[3], pads[7], pads[2], pads[6]], torch_mode)

    return Example("Pad", [(2, 3, 5, 6), np.asarray(pads)], {"mode": mode}, torch=same, title=f"{mode} {title}")


examples = [
    _case("constant", "constant", [0, 0, 1, 2, 0, 0, 3, 0]),
    _case("reflect", "reflect", [0, 0, 1, 2, 0, 0, 3, 0]),
    _case("reflect", "reflect", [0, 0, 4, 5, 0, 0, 4, 1], "as far as it goes"),
    _case("edge", "replicate", [0, 0, 1, 2, 0, 0, 3, 0]),
    _case("edge", "replicate", [0, 0, 7, 0, 0, 0, 1, 9], "wide"),
    Example(
        "Pad",
        [(2, 3, 5, 6), np.asarray([1, -2, 2, 1]), None, np.asarray([-2, 1])],
        torch=lambda t, x, *_: t.nn.functional.pad(x, [0, 0, 1, 2, -2, 1]),
        title="cut away",
    ),
]
