"""Where windows of convolutions and pools lie: explicit pads for `auto_pad`, and the counts behind an average."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from .errors import Error
from .graph import Shape, attributes, constants, describe, dims, replace

WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")


@dataclass(frozen=True)
class Window:
    """A sliding window: kernel, strides and dilations per axis, pads before and after it."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """How far a window reaches: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def overlaps(self) -> bool:
        """Whether two windows can share an element."""
        return any(e > s for e, s in zip(self.extent, self.strides, strict=True))


def window(node: onnx.NodeProto, kernel: Sequence[int] | None = None) -> Window:
    """The window that a node states; `kernel` comes from the weights where the node leaves it to them."""
    stated = attributes(node)
    size = tuple(stated.get("kernel_shape") or kernel or ())
    rank = len(size)
    pads = tuple(stated.get("pads") or (0,) * 2 * rank)
    strides = tuple(stated.get("strides") or (1,) * rank)
    dilations = tuple(stated.get("dilations") or (1,) * rank)
    return Window(size, strides, dilations, pads[:rank], pads[rank:])


def kernel_of(node: onnx.NodeProto, fixed: Mapping[str, onnx.TensorProto]) -> list[int] | None:
    """The kernel's size as the weights of a convolution have it."""
    return list(fixed[node.input[1]].dims[2:]) if len(node.input) > 1 and node.input[1] in fixed else None


def too_small(node: onnx.NodeProto, fixed: Mapping[str, onnx.TensorProto], shape: Shape) -> bool:
    """Whether not even one window fits into an input of `shape` with its pads."""
    win = window(node, kernel_of(node, fixed))
    if not win.kernel or node.op_type == "ConvTranspose" or "SAME" in attributes(node).get("auto_pad", ""):
        return False
    ends = zip(shape[2:], win.before, win.after, win.extent, strict=True)
    return any(size is not None and size + before + after < extent for size, before, after, extent in ends)


def explicit_pads(graph: onnx.GraphProto, known: Mapping[str, onnx.ValueInfoProto]) -> bool:
    """Replaces, in place, `auto_pad` and `output_shape` by pads wherever the sizes they hang on are known."""
    fixed = constants(graph)
    found = False
    for node in graph.node:
        stated = attributes(node)
        mode = stated.get("auto_pad", "NOTSET")
        if node.op_type not in WINDOWED or node.domain or (mode == "NOTSET" and "output_shape" not in stated):
            continue
        shape = dims(known[node.input[0]]) if node.input[0] in known else None
        pads = _pads(node, window(node, kernel_of(node, fixed)), mode, shape)
        if pads is not None:
            _set(node, pads)
            found = True
    return found


def require_pads(node: onnx.NodeProto) -> None:
    """Raises `Error` where `auto_pad` could not be resolved."""
    stated = attributes(node)
    if stated.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in stated:
        mode = stated.get("auto_pad", "output_shape")
        raise Error(f"{describe(node)} pads by {mode}, which needs a fixed picture size: give H and W")


def _pads(node: onnx.NodeProto, win: Window, mode: str, shape: Shape | None) -> list[int] | None:
    if mode == "VALID":
        return [0] * 2 * win.rank
    if node.op_type == "ConvTranspose":
        totals = _transposed(node, win, shape)
    else:
        totals = [_same(win, i, None if shape is None else shape[i + 2]) for i in range(win.rank)]
    if None in totals:
        return None
    sizes = [total for total in totals if total is not None]
    if any(total < 0 for total in sizes):
        raise Error(f"{describe(node)} asks for an output larger than its windows reach")
    small = [total // 2 for total in sizes]
    large = [total - half for total, half in zip(sizes, small, strict=True)]
    # The odd one goes to the end for SAME_UPPER. ConvTranspose with an output_shape alone pads more at the start.
    upper = mode == "SAME_UPPER"
    return [*small, *large] if upper else [*large, *small]


def _same(win: Window, axis: int, size: int | None) -> int | None:
    """The padding that makes the output ceil(size / stride)."""
    stride, extent = win.strides[axis], win.extent[axis]
    if size is None:
        return max(extent - 1, 0) if stride == 1 else None
    return max((math.ceil(size / stride) - 1) * stride + extent - size, 0)


def _transposed(node: onnx.NodeProto, win: Window, shape: Shape | None) -> list[int | None]:
    stated = attributes(node)
    extra = stated.get("output_padding") or [0] * win.rank
    totals: list[int | None] = []
    for i in range(win.rank):
        size = None if shape is None else shape[i + 2]
        if size is None:
            return [None] * win.rank
        wanted = stated["output_shape"][i] if "output_shape" in stated else size * win.strides[i]
        totals.append(win.strides[i] * (size - 1) + extra[i] + win.extent[i] - wanted)
    return totals


def _set(node: onnx.NodeProto, pads: Sequence[int]) -> None:
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads", "output_shape")]
    replace(node.attribute, kept)
    node.attribute.append(onnx.helper.make_attribute("pads", list(pads)))


def sides(pads: Sequence[int]) -> list[int]:
    """ONNX pads (all before, then all after) in PyTorch's order: the last axis first, before and after in turn."""
    rank = len(pads) // 2
    return [side for i in reversed(range(rank)) for side in (pads[i], pads[i + rank])]
