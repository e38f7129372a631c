"""Any model from the wild as a clean one: one opset, constants folded, inference-only nodes gone."""

from collections import Counter

import onnx
from onnx import inliner, version_converter

from .affine import fold_affine
from .errors import Error
from .expand import expand, newer
from .fold import fold
from .graph import (
    FLOATS,
    IR_VERSION,
    OPSET,
    array,
    constants,
    fresh,
    inferred,
    light,
    needed,
    one_line,
    pictures,
    reads,
    rebuild,
    replace,
    with_weights,
)


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A clean copy of `model` that computes the same, ready to be specialised and differentiated.

    It is in opset 18; weights are initialisers only; what can be computed from constants is; Identity and Dropout are
    gone, batch normalisation and per-channel scales behind a convolution are in its weights; nodes have unique names.
    The outputs keep their names. Preparing twice is preparing once. Cut first: unneeded layers cost time and memory.

    Raises `Error` for more than one input, an input that is not a float tensor (N, C, H, W), an opset that cannot be
    converted, and a graph that is not valid ONNX.
    """
    clean = rebuild(model, model.graph)
    _inputs(clean)
    _domains(clean)
    if clean.functions:
        clean = _inlined(clean)
    clean = _converted(clean)
    _plain_casts(clean)
    _plain_pools(clean.graph)
    del clean.graph.value_info[:]
    while fold(clean.graph) | _skip_identities(clean.graph) | fold_affine(clean.graph):
        pass
    prune(clean)
    _name_nodes(clean.graph)
    _check(clean)
    return clean


def prune(model: onnx.ModelProto) -> None:
    """Removes, in place, nodes, initialisers and notes on types that no output needs."""
    graph = model.graph
    nodes, wanted = needed(graph.node, [v.name for v in graph.output])
    replace(graph.node, nodes)
    replace(graph.value_info, [v for v in graph.value_info if v.name in wanted])
    if any(t.name not in wanted for t in graph.initializer):  # else weights would be copied in vain
        replace(graph.initializer, [t for t in graph.initializer if t.name in wanted])


def _inputs(model: onnx.ModelProto) -> None:
    """Leaves the picture as the one input, or says why it cannot be."""
    found = pictures(model.graph)
    if len(found) != 1:
        given = ", ".join(v.name for v in found[:6]) or "none"
        raise Error(f"the network must have one input that no initialiser fills, got {len(found)}: {given}")
    picture = onnx.ValueInfoProto()
    picture.CopyFrom(found[0])
    kind = picture.type.tensor_type
    if kind.elem_type not in FLOATS:
        what = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise Error(f"the network's input {picture.name!r} must be float (N, C, H, W), got {what}")
    if not kind.HasField("shape") or len(kind.shape.dim) != 4:
        rank = len(kind.shape.dim) if kind.HasField("shape") else "unknown"
        raise Error(f"the network's input {picture.name!r} must be float (N, C, H, W), got rank {rank}")
    del model.graph.input[:]
    model.graph.input.append(picture)


def _domains(model: onnx.ModelProto) -> None:
    """One entry an opset, and the standard one under its short name."""
    versions = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    if "" not in versions:
        raise Error(f"the network uses no standard opset, only {', '.join(versions) or 'none'}")
    replace(model.opset_import, [onnx.helper.make_opsetid(domain, version) for domain, version in versions.items()])
    for node in model.graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except Exception as problem:
        raise Error(f"the network's local functions cannot be inlined: {one_line(problem)}") from None


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in opset 18. Large weights stay out of onnx's converter, which copies everything several times."""
    model.ir_version = IR_VERSION
    version = next(o.version for o in model.opset_import if not o.domain)
    model = expand(model, version, lambda op: newer(op, version))
    if version == OPSET:
        return model
    try:
        made = version_converter.convert_version(light(model), OPSET)
    except Exception as problem:
        raise Error(f"opset {version} cannot be converted to {OPSET}: {one_line(problem)}") from None
    return with_weights(made, model)


def _plain_casts(model: onnx.ModelProto) -> None:
    """CastLike, which takes a type from a tensor, as the Cast that it is."""
    if not any(node.op_type == "CastLike" for node in model.graph.node):
        return
    types = inferred(model)
    for node in model.graph.node:
        like = types.get(node.input[1]) if node.op_type == "CastLike" else None
        if like is not None:
            kind = like.type.tensor_type.elem_type
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(onnx.helper.make_attribute("to", kind))


def _plain_pools(graph: onnx.GraphProto) -> None:
    """AveragePool of later opsets without dilations, as opset 18 has it, where they are stated to be 1."""
    for node in graph.node:
        if node.op_type == "AveragePool":
            ones = [a for a in node.attribute if a.name == "dilations" and set(a.ints) == {1}]
            replace(node.attribute, [a for a in node.attribute if a not in ones])


def _skip_identities(graph: onnx.GraphProto) -> bool:
    """Removes, in place, Identity and inference Dropout; an output keeps its name by giving it to what makes it."""
    fixed = constants(graph)
    outputs = {v.name for v in graph.output}
    made = {name for node in graph.node for name in node.output if name}
    uses = Counter(name for node in graph.node for name in reads(node))
    renamed: dict[str, str] = {}
    gone: set[str] = set()
    for node in graph.node:
        if not _is_identity(node, fixed, uses, outputs):
            continue
        source, name = node.input[0], node.output[0]
        source = renamed.get(source, source)
        if name not in outputs:
            renamed[name] = source
        elif source in made and source not in outputs:
            renamed[source] = name
            renamed |= {old: name for old, new in renamed.items() if new == source}
            outputs.add(source)
        else:
            continue
        gone.add(name)
    replace(graph.node, [node for node in graph.node if not gone.intersection(node.output)])
    _rename(graph, renamed)
    return bool(gone)


def _is_identity(
    node: onnx.NodeProto, fixed: dict[str, onnx.TensorProto], uses: Counter[str], outputs: set[str]
) -> bool:
    if node.domain or node.op_type not in ("Identity", "Dropout"):
        return False
    if len(node.output) > 1 and node.output[1] and (uses[node.output[1]] or node.output[1] in outputs):
        return False
    if len(node.input) > 2 and node.input[2]:
        mode = fixed.get(node.input[2])
        return mode is not None and not bool(array(mode))
    return True


def _rename(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    """Gives tensors new names wherever nodes make or read them, inside sub-graphs too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs] if attribute.ByteSize() else []:
                _rename(body, renamed)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Messages and profiles name nodes; files from the wild often leave them nameless or give a name twice."""
    taken: set[str] = set()
    for node in graph.node:
        node.name = fresh(node.name or (node.output[0] if node.output else node.op_type), taken)


def _check(model: onnx.ModelProto) -> None:
    thin = light(model)
    for value in thin.graph.output:  # the checker wants a shape; not every graph knows one before its input has a size
        value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(thin)
    except onnx.checker.ValidationError as problem:
        raise Error(f"the network is not a valid ONNX model: {one_line(problem)}") from None
