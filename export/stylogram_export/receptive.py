"""Which part of the picture a unit sees, for every tensor of a graph (Dumoulin and Visin 2016; Araujo et al. 2019).

Along one axis, for a window of k taps, dilation d, stride s, p zeros before, over a tensor whose units see `size`
pixels, `stride` pixels apart, the first from pixel `start` on:

    start' = start - p · stride        size' = size + (k - 1) · d · stride        stride' = s · stride

Branches that meet: the union of what they see. After a global op a unit sees the whole picture: size and start are
None, and the stride too unless another branch still has positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from .errors import Error
from .graph import Array, Shape, array, attributes, constants, dims, inferred, pictures, reads

Pair = tuple[float, float]


@dataclass(frozen=True)
class Field:
    """What the units of one tensor see, each along (rows, columns), in pixels of the network's input.

    `stride`: the distance of neighbours, None where there are no positions any more. `size`: the receptive field, None
    for the whole picture. `start`: the first pixel that the first unit sees, negative where that is padding.
    """

    stride: Pair | None
    size: Pair | None
    start: Pair | None

    @property
    def whole(self) -> "Field":
        """The same positions, each seeing the whole picture."""
        return Field(self.stride, None, None)


PIXEL = Field((1.0, 1.0), (1.0, 1.0), (0.0, 0.0))
GLOBAL = Field(None, None, None)


def fields(model: onnx.ModelProto) -> dict[str, Field]:
    """The Field of every tensor that depends on the input, the input included.

    `auto_pad` SAME is taken at sizes that the stride divides. Ops that are not known to keep positions count as global.
    """
    walk = _Walk(model)
    found = {value.name: PIXEL for value in pictures(model.graph)}
    for node in model.graph.node:
        seen = [found[name] for name in reads(node) if name in found]
        if seen:
            rule = _RULES.get(node.op_type, _same if node.op_type in _POINTWISE else _global)
            field = rule(walk, node, _union(seen))
            found.update((name, field) for name in node.output if name)
    return found


class _Walk:
    """What the rules look up: constants and the shapes that are known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._constants = constants(model.graph)
        try:
            known = inferred(model)
        except Error:  # shapes that contradict each other say nothing; the chain of strides does not need them
            known = {}
        self.shapes: dict[str, Shape | None] = {name: dims(value) for name, value in known.items()}

    def constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """Input `index` if it is there and constant."""
        name = node.input[index] if index < len(node.input) else ""
        return array(self._constants[name]) if name in self._constants else None

    def rank(self, name: str) -> int | None:
        """A tensor's number of axes, if known."""
        shape = self.shapes.get(name)
        return None if shape is None else len(shape)


Rule = Callable[[_Walk, onnx.NodeProto, Field], Field]


def _union(seen: Sequence[Field]) -> Field:
    """One unit reads all of these: positions of the first that has some, from the earliest pixel to the last."""
    stride = next((field.stride for field in seen if field.stride), None)
    spans = [(field.start, field.size) for field in seen if field.start and field.size]
    if stride is None or len(spans) < len(seen):
        return Field(stride, None, None)
    start = (min(s[0] for s, _ in spans), min(s[1] for s, _ in spans))
    end = (max(s[0] + n[0] for s, n in spans), max(s[1] + n[1] for s, n in spans))
    return Field(stride, (end[0] - start[0], end[1] - start[1]), start)


def _moved(field: Field, stride: Pair, before: Pair, wider: Pair) -> Field:
    """`field` with its stride times `stride`, starting `before` units earlier, `wider` units larger."""
    if field.stride is None:
        return field
    rows, columns = field.stride
    changed = replace(field, stride=(rows * stride[0], columns * stride[1]))
    if field.size is None or field.start is None:
        return changed
    size = (field.size[0] + wider[0] * rows, field.size[1] + wider[1] * columns)
    start = (field.start[0] - before[0] * rows, field.start[1] - before[1] * columns)
    return replace(changed, size=size, start=start)


def _same(_walk: _Walk, _node: onnx.NodeProto, field: Field) -> Field:
    return field


def _global(_walk: _Walk, _node: onnx.NodeProto, _field: Field) -> Field:
    return GLOBAL


def _everywhere(_walk: _Walk, _node: onnx.NodeProto, field: Field) -> Field:
    return field.whole  # InstanceNormalization: the positions stay, each depends on all


def _window(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    """Conv and pools."""
    given = attributes(node)
    kernel = _pair(given.get("kernel_shape") or _kernel(walk, node))
    stride, dilation = _pair(given.get("strides", [1, 1])), _pair(given.get("dilations", [1, 1]))
    span = ((kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1])
    auto = given.get("auto_pad", "NOTSET")
    before = _pair(given.get("pads", [0, 0, 0, 0])[:2])
    if auto.startswith("SAME"):
        total = [max(span[axis] + 1 - stride[axis], 0) for axis in (0, 1)]
        before = _pair([t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total])
    elif auto == "VALID":
        before = (0.0, 0.0)
    return _moved(field, stride, before, span)


def _transposed(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    """ConvTranspose: an output sees ceil(k / s) inputs; its positions lie s times as close."""
    given = attributes(node)
    kernel = _pair(given.get("kernel_shape") or _kernel(walk, node))
    stride, dilation = _pair(given.get("strides", [1, 1])), _pair(given.get("dilations", [1, 1]))
    pads = _pair(given.get("pads", [0, 0, 0, 0])[:2])
    reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
    wider = _pair([reach[axis] // stride[axis] for axis in (0, 1)])
    before = _pair([(reach[axis] - pads[axis]) // stride[axis] for axis in (0, 1)])
    return _moved(field, (1 / stride[0], 1 / stride[1]), before, wider)


def _kernel(walk: _Walk, node: onnx.NodeProto) -> Sequence[int]:
    shape = walk.shapes.get(node.input[1]) or ()
    return [size or 1 for size in shape[2:]]


def _pair(values: Sequence[float]) -> Pair:
    """(rows, columns); 1-D windows and others have no picture positions and are not asked for here."""
    rows, columns = (*values, 1.0, 1.0)[:2]
    return float(rows), float(columns)


def _resize(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    """Resize and Upsample: by constant scales, or by the shapes where both are known."""
    scales = walk.constant(node, 2 if node.op_type == "Resize" else 1)
    if scales is None or scales.size != 4:
        before, after = walk.shapes.get(node.input[0]), walk.shapes.get(node.output[0])
        known = before and after and len(before) == len(after) == 4 and all(before[2:]) and all(after[2:])
        if not known or before is None or after is None:
            return GLOBAL
        scales = np.array([1, 1, *(float(a or 1) / float(b or 1) for a, b in zip(after[2:], before[2:], strict=True))])
    rows, columns = (1 / float(scale) for scale in scales[-2:])
    mode = attributes(node).get("mode", "nearest")
    wider, before_first = {"linear": (1, 1), "cubic": (3, 2)}.get(mode, (0, 0))
    return _moved(field, (rows, columns), (before_first, before_first), (wider, wider))


def _pad(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    pads = walk.constant(node, 1)
    if pads is None or pads.size != 8 or len(node.input) > 3:
        return field.whole
    return _moved(field, (1.0, 1.0), (float(pads[2]), float(pads[3])), (0.0, 0.0))


def _slice(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    starts, axes, steps = (walk.constant(node, index) for index in (1, 3, 4))
    if starts is None:
        return GLOBAL
    axes = np.arange(len(starts)) if axes is None else axes % 4
    steps = np.ones_like(starts) if steps is None else steps
    stride, before = [1.0, 1.0], [0.0, 0.0]
    for start, axis, step in zip(starts, axes, steps, strict=True):
        if axis >= 2:
            if start < 0 or step < 0:
                return field.whole
            stride[axis - 2], before[axis - 2] = float(step), -float(start)
    return _moved(field, _pair(stride), _pair(before), (0.0, 0.0))


def _along(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    """Ops along an axis: channels keep the positions, rows or columns are seen whole."""
    given = attributes(node)
    axis = given.get("axis", -1)
    rank = walk.rank(node.input[0]) or 4
    return field if axis % rank < 2 else field.whole


def _reduced(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    axes = attributes(node).get("axes")
    if axes is None:
        constant = walk.constant(node, 1)
        axes = None if constant is None else constant.tolist()
    rank = walk.rank(node.input[0]) or 4
    kept = attributes(node).get("keepdims", 1)
    return field if axes and kept and all(axis % rank == 1 for axis in axes) else GLOBAL


def _reordered(walk: _Walk, node: onnx.NodeProto, field: Field) -> Field:
    """Reshape and Transpose, as in a channel shuffle: positions stay if rows and columns stay the last two axes."""
    if node.op_type == "Transpose":
        order = attributes(node).get("perm", [])
        return field if len(order) > 3 and order[-2:] == [len(order) - 2, len(order) - 1] else GLOBAL
    before, after = walk.shapes.get(node.input[0]), walk.shapes.get(node.output[0])
    if not before or not after or len(before) < 4 or len(after) < 4:
        return GLOBAL
    return field if before[-2:] == after[-2:] and None not in after[-2:] else GLOBAL


_POINTWISE_NAMES = """
    Abs Add BatchNormalization Cast Ceil Celu Clip Concat Constant Div Dropout Elu Equal Erf Exp Floor Gelu Greater
    HardSigmoid HardSwish Identity LRN LeakyRelu Less Log Max Mean Min Mish Mul Neg Not PRelu Pow Reciprocal Relu Round
    Selu Sigmoid Sign Softplus Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu Where
"""
_POINTWISE = frozenset(_POINTWISE_NAMES.split())

_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "LpPool"), _window),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Split"), _along),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), _reduced),
    **dict.fromkeys(("Reshape", "Transpose"), _reordered),
    "ConvTranspose": _transposed,
    "InstanceNormalization": _everywhere,
    "Pad": _pad,
    "Slice": _slice,
}
