"""ConvTranspose: y = wᵀ ∗ x + b; dx = w ∗ dy, a Conv with the same weights, strides, dilations and pads."""

from typing import Any

from ..padding import require_pads, window
from ..rules import Example, draw
from ..step import Step

ops = ("ConvTranspose",)


def vjp(step: Step) -> str:
    require_pads(step.node)
    win = window(step.node, step.constant(1).shape[2:])
    return step.op(
        "Conv",
        step.gy,
        step.x(1),
        kernel_shape=win.kernel,
        strides=win.strides,
        dilations=win.dilations,
        pads=[*win.before, *win.after],
        group=step.attribute("group", 1),
    )


def _case(x: tuple[int, ...], w: tuple[int, ...], title: str, torch: bool = True, **stated: Any) -> Example:
    def same(t: Any, x: Any, w: Any, b: Any) -> Any:
        rank = w.ndim - 2
        words = {"strides": "stride", "dilations": "dilation", "group": "groups", "output_padding": "output_padding"}
        given = {word: stated[name] for name, word in words.items() if name in stated}
        conv = getattr(t.nn.functional, f"conv_transpose{rank}d")
        return conv(x, w, b, padding=stated.get("pads", [0] * 2 * rank)[:rank], **given)

    weights = [draw(*w, seed=1), draw(w[1] * stated.get("group", 1), seed=2)]
    return Example("ConvTranspose", [x, *weights], stated, torch=same if torch else None, title=title)


examples = [
    _case((2, 5, 4, 3), (5, 4, 3, 3), "plain"),
    _case((1, 5, 4, 3), (5, 4, 3, 3), "double", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    _case((1, 6, 4, 3), (6, 2, 2, 3), "group", group=3, strides=[2, 3], dilations=[2, 1]),
    _case((1, 5, 4, 3), (5, 4, 3, 4), "uneven pads", torch=False, strides=[2, 1], pads=[0, 2, 1, 1]),
    _case((1, 5, 4, 3), (5, 4, 3, 3), "same", torch=False, strides=[2, 2], auto_pad="SAME_UPPER"),
    _case((1, 5, 4, 3), (5, 4, 3, 3), "shape said", torch=False, strides=[2, 2], output_shape=[8, 6]),
    _case((2, 5, 4), (5, 4, 3), "one axis", strides=[2]),
]
