"""Pad: y = x with values around it; dx = the middle of dy, plus what the borders copied, unless they are constant.

What `reflect` copied is turned round and added where it came from, what `wrap` copied is not turned, what `edge`
repeated is summed. Negative pads cut away: there dx = 0.
"""

from typing import Any

import numpy as np

from ..errors import Error
from ..graph import describe
from ..placing import FAR, part, put
from ..rules import Example
from ..step import Step

ops = ("Pad",)


def vjp(step: Step) -> str:
    gx = step.gy
    mode = step.attribute("mode", "constant")
    for axis, before, after in _pads(step):
        grown = (max(before, 0), max(after, 0))
        parts = [part(step, gx, axis, grown[0], -grown[1] or FAR)] if any(grown) else [gx]
        if mode != "constant" and any(grown):
            size = step.size(axis) + min(before, 0) + min(after, 0)  # of the middle
            parts += _borders(step, gx, axis, grown, size, mode)
        gx = step.add(parts[0], parts[1], *parts[2:]) if len(parts) > 1 else parts[0]
        gx = put(step, gx, axis, max(-before, 0), max(-after, 0))
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
    match mode:
        case "reflect":
            ends = (part(step, gy, axis, before - 1, -FAR, -1), part(step, gy, axis, -1, -after - 1, -1))
            places = ((1, size - 1 - before), (size - 1 - after, 1))
        case "edge":
            first, last = part(step, gy, axis, 0, before), part(step, gy, axis, -after, FAR)
            ends = (_total(step, first, axis), _total(step, last, axis))
            places = ((0, size - 1), (size - 1, 0))
        case "wrap":
            ends = (part(step, gy, axis, 0, before), part(step, gy, axis, -after, FAR))
            places = ((size - before, 0), (0, size - after))
        case _:
            raise Error(f"{describe(step.node)} pads by {mode!r}; accepted: constant, edge, reflect, wrap")
    return [put(step, end, axis, *place) for end, place, count in zip(ends, places, pads, strict=True) if count]


def _total(step: Step, piece: str, axis: int) -> str:
    return step.op("ReduceSum", piece, step.ints(axis), name="total", keepdims=1)


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
    _case("wrap", "circular", [0, 0, 1, 2, 0, 0, 3, 0]),
    Example(
        "Pad",
        [(2, 3, 5, 6), np.asarray([1, -2, 2, 1]), None, np.asarray([-2, 1])],
        torch=lambda t, x, *_: t.nn.functional.pad(x, [0, 0, 1, 2, -2, 1]),
        title="cut away",
    ),
]
