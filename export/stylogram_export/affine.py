"""Per-channel scales and shifts behind a convolution, folded into its weights."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from .graph import Array, array, attributes, constants, fresh, names, reads, replace

Affine = tuple[Array, Array]  # scale and shift, each (C,) in float64


def fold_affine(graph: onnx.GraphProto) -> bool:
    """Folds, in place, BatchNormalization and Mul, Add, Sub, Div by per-channel constants into the Conv before them.

    y = s · (w * x + b) + t = (s w) * x + (s b + t). Only where nobody else sees the convolution's output; the tensor
    keeps the name that it had behind the scale. Says whether there was one.
    """
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in reads(node)) + Counter(v.name for v in graph.output)
    fixed, taken = constants(graph), names(graph)
    kept = []
    for node in graph.node:
        conv, affine = _after_conv(node, makers, uses, fixed)
        if conv is None or affine is None:
            kept.append(node)
            continue
        _scale_weights(graph, conv, affine, fixed, taken)
        conv.output[0] = node.output[0]
        makers[node.output[0]] = conv
    found = len(kept) < len(graph.node)
    replace(graph.node, kept)
    return found


def _after_conv(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], uses: Counter[str], fixed: dict[str, onnx.TensorProto]
) -> tuple[onnx.NodeProto | None, Affine | None]:
    """The convolution that feeds `node` alone, and `node` as a scale and a shift of its channels."""
    rule = RULES.get(node.op_type)
    if rule is None or node.domain:
        return None, None
    for i, name in enumerate(node.input):
        conv = makers.get(name)
        if conv is None or conv.op_type != "Conv" or conv.domain or uses[name] != 1:
            continue
        if any(w and w not in fixed for w in conv.input[1:]):
            continue
        weight = fixed[conv.input[1]]
        return conv, rule(node, i, fixed, weight.dims[0], len(weight.dims))
    return None, None


def _scale_weights(
    graph: onnx.GraphProto,
    conv: onnx.NodeProto,
    affine: Affine,
    fixed: dict[str, onnx.TensorProto],
    taken: set[str],
) -> None:
    scale, shift = affine
    weight = array(fixed[conv.input[1]])
    bias = array(fixed[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else np.zeros(1)
    channels = scale.reshape(-1, *[1] * (weight.ndim - 1))
    made = {1: (weight * channels).astype(weight.dtype), 2: (scale * bias + shift).astype(weight.dtype)}
    hints = {1: conv.input[1], 2: conv.input[2] if len(conv.input) > 2 and conv.input[2] else f"{conv.input[1]}:bias"}
    del conv.input[1:]
    for i, value in made.items():
        name = fresh(hints[i], taken)
        conv.input.append(name)
        graph.initializer.append(numpy_helper.from_array(value, name))
        fixed[name] = graph.initializer[-1]


def _batch_normalization(
    node: onnx.NodeProto, i: int, fixed: dict[str, onnx.TensorProto], *_sizes: int
) -> Affine | None:
    stated = attributes(node)
    alone = [name for name in node.output if name] == [node.output[0]]
    if i or stated.get("training_mode", 0) or not alone or any(name not in fixed for name in node.input[1:]):
        return None
    gamma, beta, mean, var = (array(fixed[name]).astype(np.float64) for name in node.input[1:5])
    scale = gamma / np.sqrt(var + stated.get("epsilon", 1e-5))
    return scale, beta - mean * scale


def _per_channel(
    node: onnx.NodeProto, i: int, fixed: dict[str, onnx.TensorProto], channels: int, rank: int
) -> Array | None:
    """The other operand, if it is a constant that is the same all over a channel."""
    if len(node.input) != 2 or node.input[1 - i] not in fixed:
        return None
    value = array(fixed[node.input[1 - i]]).astype(np.float64)
    shape = (1,) * (rank - value.ndim) + value.shape
    if len(shape) != rank or shape[1] not in (1, channels) or any(n != 1 for n in (shape[0], *shape[2:])):
        return None
    return np.broadcast_to(value.reshape(-1), (channels,))


def _arithmetic(combine: Callable[[Array, int], Affine | None]) -> Callable[..., Affine | None]:
    def rule(
        node: onnx.NodeProto, i: int, fixed: dict[str, onnx.TensorProto], channels: int, rank: int
    ) -> Affine | None:
        value = _per_channel(node, i, fixed, channels, rank)
        return None if value is None else combine(value, i)

    return rule


RULES: dict[str, Callable[..., Affine | None]] = {
    "BatchNormalization": _batch_normalization,
    "Mul": _arithmetic(lambda c, _: (c, np.zeros_like(c))),
    "Add": _arithmetic(lambda c, _: (np.ones_like(c), c)),
    "Sub": _arithmetic(lambda c, i: (np.ones_like(c), -c) if i == 0 else (-np.ones_like(c), c)),
    "Div": _arithmetic(lambda c, i: (1 / c, np.zeros_like(c)) if i == 0 else None),
}
