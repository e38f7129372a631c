"""Computing at export time what does not depend on the picture."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .errors import Error
from .graph import OPSET, Array, array, attributes, constants, describe, one_line, replace, subgraphs

RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
# onnx's reference implementation has these wrong (1.23: LRN in small batches, grouped ConvTranspose, Indices of padded
# pools, ...), so they are left to the runtime.
WRONG = ("LRN", "ConvTranspose", "GlobalMaxPool", "LpNormalization", "MaxPool", "Erf")


def evaluate(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> list[Array]:
    """One node's outputs by onnx's reference implementation, which is the definition of the op."""
    feeds = {name: inputs[name] for name in node.input if name}
    try:
        with np.errstate(all="ignore"):
            made = ReferenceEvaluator(node, opsets={"": OPSET}).run(None, feeds)
    except Exception as problem:
        raise Error(f"{describe(node)} cannot be computed from its constants: {one_line(problem)}") from None
    return [np.asarray(value) for value in made]


def _foldable(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type in RANDOM + WRONG or node.domain or any(subgraphs(node)):
        return False
    return all(name in known for name in node.input if name)


def fold(graph: onnx.GraphProto) -> bool:
    """Replaces, in place, every node whose inputs are all constants by initialisers; says whether there was one."""
    known = constants(graph)
    kept = []
    for node in graph.node:
        if not _foldable(node, known):
            kept.append(node)
            continue
        inputs = {name: array(known[name]) for name in node.input if name}
        for name, value in zip(node.output, evaluate(node, inputs), strict=False):
            if name:
                known[name] = graph.initializer.add()
                known[name].CopyFrom(numpy_helper.from_array(value, name))
    found = len(kept) < len(graph.node)
    replace(graph.node, kept)
    return found


def fold_shapes(graph: onnx.GraphProto, known: Mapping[str, onnx.ValueInfoProto]) -> bool:
    """Replaces Shape, Size, and picks out of a Shape, where the sizes asked for are known; says whether it did."""
    sizes: dict[str, list[int | None]] = {}
    kept = []
    for node in graph.node:
        value = _sizes(node, known, sizes, graph)
        if value is not None and None not in value[0]:
            made = np.asarray(value[0], np.int64).reshape(value[1])
            graph.initializer.append(numpy_helper.from_array(made, node.output[0]))
            continue
        if value is not None and len(value[1]) == 1:
            sizes[node.output[0]] = value[0]
        kept.append(node)
    found = len(kept) < len(graph.node)
    replace(graph.node, kept)
    return found


def _sizes(
    node: onnx.NodeProto,
    known: Mapping[str, onnx.ValueInfoProto],
    sizes: Mapping[str, list[int | None]],
    graph: onnx.GraphProto,
) -> tuple[list[int | None], tuple[int, ...]] | None:
    """The partly known sizes that a node computes, and the shape that it gives them."""
    if node.op_type in ("Shape", "Size") and node.input[0] in known:
        return _shape_value(node, known[node.input[0]])
    if node.op_type not in ("Gather", "Slice") or node.input[0] not in sizes:
        return None
    fixed = {t.name: t for t in graph.initializer if t.name in node.input}
    if any(name and name not in fixed for name in node.input[1:]):
        return None
    # Unknown sizes go through the pick as -1, which no size can be.
    whole = [-1 if size is None else size for size in sizes[node.input[0]]]
    inputs = {name: array(tensor) for name, tensor in fixed.items()}
    picked = evaluate(node, {**inputs, node.input[0]: np.asarray(whole, np.int64)})[0]
    return [None if size < 0 else int(size) for size in picked.ravel()], picked.shape


def _shape_value(node: onnx.NodeProto, value: onnx.ValueInfoProto) -> tuple[list[int | None], tuple[int, ...]] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    shape = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    if node.op_type == "Size":
        closed = [size for size in shape if size is not None]
        return ([int(np.prod(closed)) if len(closed) == len(shape) else None], ())
    stated = attributes(node)
    part: Sequence[int | None] = shape[slice(stated.get("start", 0), stated.get("end"))]
    return list(part), (len(part),)
