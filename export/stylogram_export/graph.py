"""Names, nodes and constants of an ONNX graph, and cutting it. Nothing here knows what an op computes."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from .beside import LARGE, numbers
from .errors import Error, one_of

OPSET = 18  # what every graph that leaves this package uses: the newest that every ONNX Runtime EP has kernels for
IR_VERSION = 8  # the file format that belongs to it

Array = NDArray[Any]
Shape = tuple[int | None, ...]
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that a node states, as Python values; strings as `str`."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: onnx.NodeProto) -> list[str]:
    """Every tensor that a node needs, including those that its sub-graphs take from outside."""
    names = [name for name in node.input if name]
    for body in subgraphs(node):
        inner = {v.name for v in body.input} | {t.name for t in body.initializer}
        for child in body.node:
            names += [name for name in reads(child) if name not in inner]
            inner.update(child.output)
        names += [v.name for v in body.output if v.name not in inner]
    return names


def array(tensor: onnx.TensorProto) -> Array:
    """A tensor's values."""
    return numbers(tensor)


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The initialisers by name."""
    return {t.name: t for t in graph.initializer}


def pictures(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that no initialiser fills: old files list their weights among the inputs."""
    fixed = {t.name for t in graph.initializer}
    return [v for v in graph.input if v.name not in fixed]


def dims(value: onnx.ValueInfoProto) -> Shape | None:
    """A tensor's shape, `None` for each open size; `None` if not even its rank is known."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)


def values(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    """Everything that the graph itself states about its tensors' types."""
    return {v.name: v for v in [*graph.value_info, *graph.input, *graph.output]}


def replace(field: Any, items: Iterable[Any]) -> None:
    """Makes a repeated field hold `items`, some of which it may hold already."""
    kept = list(items)
    del field[:]
    field.extend(kept)


def describe(node: onnx.NodeProto) -> str:
    """How messages call a node: `[Conv] node 'conv1'`."""
    return f"[{node.op_type}] node {node.name or (node.output[0] if node.output else '?')!r}"


def fresh(hint: str, taken: set[str]) -> str:
    """`hint`, or `hint_2`, `hint_3` and so on: a name that is not taken, and now is."""
    name, count = hint, 1
    while name in taken:
        count += 1
        name = f"{hint}_{count}"
    taken.add(name)
    return name


def names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name in use."""
    used = {t.name for t in graph.initializer} | {v.name for v in graph.input}
    for node in graph.node:
        used.update(node.output)
        used.update(reads(node))
    return used


def needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes, in their order, that `outputs` depend on, and every tensor that these read, with `outputs`."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1], wanted


def rebuild(model: onnx.ModelProto, graph: onnx.GraphProto) -> onnx.ModelProto:
    """A model around `graph` with everything else (opsets, metadata, functions) of `model`."""
    made = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if isinstance(value, int | str | bytes):
            setattr(made, field.name, value)
        else:
            getattr(made, field.name).extend(value)
    made.graph.CopyFrom(graph)
    return made


def cut(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The sub-graph that computes the tensors `outputs`, which become its outputs, in that order.

    Weights that it does not need are left behind. Raises `Error` for a tensor that no node makes.
    """
    graph = model.graph
    known = [name for node in graph.node for name in node.output if name]
    for name in outputs:
        if name not in known:
            raise one_of("tensor", name, known)
    nodes, wanted = needed(graph.node, outputs)
    types = _types(model, outputs)
    piece = onnx.GraphProto(name=graph.name, doc_string=graph.doc_string)
    piece.node.extend(nodes)
    piece.input.extend(v for v in graph.input if v.name in wanted)
    piece.initializer.extend(t for t in graph.initializer if t.name in wanted)
    piece.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in wanted)
    piece.output.extend(types[name] for name in dict.fromkeys(outputs))
    made = {name for node in nodes for name in node.output}
    piece.value_info.extend(v for v in graph.value_info if v.name in made and v.name not in outputs)
    return rebuild(model, piece)


def _types(model: onnx.ModelProto, tensors: Sequence[str]) -> Mapping[str, onnx.ValueInfoProto]:
    """What is known about tensors' types: by the model itself, else by inference, else float of unknown rank."""
    known = values(model.graph)
    if any(name not in known for name in tensors):
        known = {**inferred(model), **known}
    plain = onnx.TensorProto.FLOAT
    return {name: known.get(name) or onnx.helper.make_tensor_value_info(name, plain, None) for name in tensors}


def light(model: onnx.ModelProto, largest: int = LARGE) -> onnx.ModelProto:
    """A copy whose constants of more than `largest` elements are typed inputs: quick to hand to onnx's C++ passes."""
    graph = model.graph
    heavy = {t.name: t for t in graph.initializer if math.prod(t.dims) > largest}
    thin = onnx.GraphProto(name=graph.name)
    thin.node.extend(graph.node)
    thin.input.extend(v for v in graph.input if v.name not in heavy)
    thin.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in heavy.values())
    thin.output.extend(graph.output)
    thin.value_info.extend(graph.value_info)
    thin.initializer.extend(t for t in graph.initializer if t.name not in heavy)
    thin.sparse_initializer.extend(graph.sparse_initializer)
    return rebuild(model, thin)


def with_weights(thin: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """`thin`, which a pass made from `light(model)`, with the weights of `model` as constants again."""
    graph = thin.graph
    own, kept = {t.name for t in model.graph.initializer}, constants(graph)
    replace(graph.input, [v for v in graph.input if v.name not in own])
    graph.initializer.extend(t for t in model.graph.initializer if t.name not in kept)
    replace(thin.metadata_props, model.metadata_props)
    thin.ir_version = model.ir_version
    return thin


def inferred(model: onnx.ModelProto, strict: bool = False) -> dict[str, onnx.ValueInfoProto]:
    """The types and shapes of all tensors. Strict inference raises `Error` where shapes contradict each other."""
    try:
        made = onnx.shape_inference.infer_shapes(light(model), strict_mode=strict, data_prop=True)
    except onnx.shape_inference.InferenceError as problem:
        raise Error(f"shapes do not fit: {one_line(problem)}") from None
    found = values(made.graph)
    for tensor in model.graph.initializer:
        if tensor.name not in found:
            found[tensor.name] = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    return found


def one_line(problem: object, most: int = 300) -> str:
    """What another library or a file says, squeezed into one line that a terminal can show."""
    text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(problem).split()))
    return text if len(text) <= most else text[: most - 3] + "..."
