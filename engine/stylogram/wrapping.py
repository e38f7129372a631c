"""A network on a torus: each window sees beyond an edge what lies at the opposite one, as in an endless tiling.

Padding goes. Before a window of kernel k, dilation d, stride s and p pads before it, the tensor x of n positions is
continued around by p positions on one side and d (k − 1) + 1 − s − p on the other,

    y = Concat(last, x, first),   along rows and along columns,

so that exactly n / s windows fit: the features of the picture repeated without end. A cyclic shift of the picture by
the strides' common multiple only shifts every tensor; Gram matrices stay, and the gradient is shifted too.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from stylogram_export.graph import attributes, constants, cut, describe, fresh, names, reads
from stylogram_export.receptive import Field, fields

from .errors import Error

WINDOWS = ("Conv", "MaxPool", "AveragePool")
_POINTWISE_NAMES = """
    Abs Add BatchNormalization Cast Celu Clip Concat Div Elu Erf Exp HardSigmoid HardSwish Identity LRN LeakyRelu Log
    Max Mean Min Mish Mul Neg PRelu Pow Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Sub Sum Tanh ThresholdedRelu
"""
#: Operators that treat every position alike: on the torus they are what they were.
POINTWISE = frozenset(_POINTWISE_NAMES.split())
Pair = tuple[int, int]


def wrapped(model: onnx.ModelProto, taps: Sequence[str], size: Pair) -> onnx.ModelProto:
    """The network on the torus of `size` (rows, columns), cut at the tensors `taps`, whose names stay.

    Args:
        model: prepared, one picture (N,3,H,W) in.
        taps: tensors with rows and columns.
        size: of the picture; each side a multiple of `period(model, taps)`.

    Raises:
        Error: an operator that has no meaning on a torus, or a size that the strides do not divide.
    """
    made = cut(model, taps)
    step = period(made, taps)
    for side in size:
        if side % step:
            near = " or ".join(str(n) for n in (side // step * step, (side // step + 1) * step) if n)
            raise Error(
                f"a picture that tiles must have sides that are multiples of {step}, the network's stride, "
                f"got {size[1]}x{size[0]}; instead of {side}: {near}"
            )
    _Torus(made, size).wrap()
    return made


def period(model: onnx.ModelProto, taps: Sequence[str]) -> int:
    """The strides' least common multiple down to `taps`: the sides of a picture that tiles are multiples of it.

    Raises Error for an operator that has no meaning on a torus.
    """
    part = cut(model, taps)
    fixed = constants(part.graph)
    for node in part.graph.node:
        live = any(name not in fixed for name in reads(node))
        if live and (node.domain or node.op_type not in {*POINTWISE, *WINDOWS, "Pad"}):
            accepted = ", ".join((*WINDOWS, "Pad"))
            raise Error(f"{describe(node)} has no meaning on a torus; accepted: {accepted} and pointwise operators")
    strides = {int(n) for field in fields(part).values() for n in field.stride or ()}
    return math.lcm(*strides)


class _Torus:
    """The edits on one graph."""

    def __init__(self, model: onnx.ModelProto, size: Pair) -> None:
        self._graph = model.graph
        self._size = size
        self._fields: Mapping[str, Field] = fields(model)
        self._fixed = constants(model.graph)
        self._taken = names(model.graph)
        self._nodes: list[onnx.NodeProto] = []
        self._pads: dict[str, tuple[str, Pair]] = {}  # a Pad's output: what it padded, by how much before
        self._made: dict[tuple[str, int, int, int], str] = {}

    def wrap(self) -> None:
        """Replace the graph's nodes, and forget the shapes that were true of the old ones."""
        for node in list(self._graph.node):
            if node.op_type == "Pad":
                self._unpad(node)
            elif node.op_type in WINDOWS:
                self._windowed(node)
            else:
                self._require_unpadded(node)
                self._nodes.append(node)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self._nodes]
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(nodes)
        for value in self._graph.output:
            value.type.tensor_type.ClearField("shape")

    def _unpad(self, node: onnx.NodeProto) -> None:
        """What a Pad adds is on the torus anyway; where it starts matters to the windows that read it."""
        pads = numpy_helper.to_array(self._fixed[node.input[1]]) if node.input[1] in self._fixed else np.empty(0)
        plain = len(node.input) < 4 and pads.size == 8 and not pads[[0, 1, 4, 5]].any() and (pads >= 0).all()
        if not plain:
            raise Error(f"{describe(node)} is not a constant Pad of rows and columns; no other has meaning on a torus")
        source, (rows, columns) = self._origin(node)
        self._pads[node.output[0]] = (source, (rows + int(pads[2]), columns + int(pads[3])))

    def _origin(self, node: onnx.NodeProto) -> tuple[str, Pair]:
        """What a node reads first, behind all Pads, and how many pads there are before it."""
        return self._pads.get(node.input[0], (node.input[0], (0, 0)))

    def _require_unpadded(self, node: onnx.NodeProto) -> None:
        if any(name in self._pads for name in node.input):
            raise Error(f"{describe(node)} reads what a Pad made; on a torus only {', '.join(WINDOWS)} may")

    def _windowed(self, node: onnx.NodeProto) -> None:
        """The node without pads, on what it reads continued around."""
        if len(node.output) > 1 and node.output[1]:
            raise Error(f"{describe(node)} gives indices, which have no meaning on a torus")
        source, padded = self._origin(node)
        given = attributes(node)
        kernel = given.get("kernel_shape") or list(self._fixed[node.input[1]].dims[2:])
        strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
        name, stride = source, self._fields[source].stride or (1.0, 1.0)
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1 - strides[axis]
            before = padded[axis] + _before(given, reach, axis)
            after = reach - before
            if -strides[axis] < after < 0:
                after = 0  # less than a stride too much: no window fits into it
            name = self._continued(name, axis + 2, self._size[axis] // int(stride[axis]), before, after)
        made = onnx.NodeProto()
        made.CopyFrom(node)
        kept = [a for a in node.attribute if a.name not in ("pads", "auto_pad", "ceil_mode", "count_include_pad")]
        del made.attribute[:]
        made.attribute.extend(kept)
        made.input[0] = name
        self._nodes.append(made)

    def _continued(self, name: str, axis: int, count: int, before: int, after: int) -> str:
        """The positions −before … count + after of a tensor of `count` positions, made once for all who want them."""
        key = (name, axis, before, after)
        if key not in self._made:
            spans = _spans(count, before, after)
            self._made[key] = name if spans == [(0, count)] else self._joined(name, axis, spans)
        return self._made[key]

    def _joined(self, name: str, axis: int, spans: Sequence[Pair]) -> str:
        """Split once at every end of a span, so that nothing of the tensor's size is added up on the way back."""
        cuts = sorted({end for span in spans for end in span})
        sizes = [b - a for a, b in pairwise(cuts)]
        parts = [fresh(f"{name}:part", self._taken) for _ in sizes]
        joined = fresh(f"{name}:around", self._taken)
        if len(parts) == 1:
            parts = [name]
        else:
            split = fresh(f"{name}:sizes", self._taken)
            self._graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), split))
            self._nodes.append(helper.make_node("Split", [name, split], parts, parts[0], axis=axis))
        inputs = [part for a, b in spans for part, at in zip(parts, cuts, strict=False) if a <= at < b]
        self._nodes.append(helper.make_node("Concat", inputs, [joined], joined, axis=axis))
        return joined


def _before(given: Mapping[str, Any], reach: int, axis: int) -> int:
    """The pads before the first window along an axis, for sizes that the stride divides."""
    auto = given.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = max(reach, 0)
        return total // 2 if auto == "SAME_UPPER" else total - total // 2
    return 0 if auto == "VALID" else int(given.get("pads", [0, 0, 0, 0])[axis])


def _spans(count: int, before: int, after: int) -> list[Pair]:
    """The stretches of 0 … count, one for each time around, that make up −before … count + after."""
    turns = range(-before // count, -(-(count + after) // count))
    spans = [(max(-before - turn * count, 0), min(count + after - turn * count, count)) for turn in turns]
    return [span for span in spans if span[0] < span[1]]
