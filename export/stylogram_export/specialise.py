"""A prepared model for one size of picture, or for every size."""

import math
from collections.abc import Iterator, Mapping, Sequence

import onnx

from .errors import Error
from .fold import fold, fold_shapes
from .graph import Array, Shape, array, constants, describe, dims, inferred, light, pictures, rebuild
from .padding import WINDOWED, explicit_pads, too_small
from .prepare import prune

OPEN = ("N", "C", "H", "W")
TRIED = (32, 64, 96, 112, 128, 160, 192, 224, 227, 231, 240, 256, 288, 299, 320, 331, 384, 448, 512, 640)


def specialise(model: onnx.ModelProto, shape: Sequence[int | None]) -> onnx.ModelProto:
    """A copy of a prepared model whose input has `shape`, (N, C, H, W) with `None` for a size that stays open.

    The types and shapes of all tensors that follow from it are in the copy's `value_info`; Shape and what hangs on it
    is folded where the sizes are known; SAME padding becomes numbers. Raises `Error` where the size does not fit: it
    names the node, what it got, and sizes that would do.
    """
    made = rebuild(model, model.graph)
    declared = _set_shape(made, shape)
    _settle(made, declared)
    prune(made)
    found = inferred(made)
    outputs = [v.name for v in made.graph.output]
    inside = [name for node in made.graph.node for name in node.output if name and name not in outputs]
    del made.graph.value_info[:]
    made.graph.value_info.extend(found[name] for name in inside if name in found)
    for value in made.graph.output:
        value.CopyFrom(found.get(value.name, value))
    return made


def shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shape of every tensor whose rank is known, `None` for each open size."""
    known = {name: dims(value) for name, value in inferred(model).items()}
    return {name: shape for name, shape in known.items() if shape is not None}


def _set_shape(model: onnx.ModelProto, shape: Sequence[int | None]) -> Shape:
    """Gives the input its shape; returns the one that the file declared."""
    value = pictures(model.graph)[0]
    declared = dims(value) or (None,) * 4
    if len(shape) != 4 or any(size is not None and size < 1 for size in shape):
        raise Error(f"shape must be (N, C, H, W), each a size or None, got {tuple(shape)}")
    channels = declared[1]
    if channels is not None and shape[1] not in (None, channels):
        raise Error(f"the network takes pictures of {channels} channels, got {shape[1]}")
    sizes = [shape[0], channels or shape[1], *shape[2:]]
    stated = [OPEN[i] if size is None else size for i, size in enumerate(sizes)]
    kind = value.type.tensor_type.elem_type
    value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, stated))
    for output in model.graph.output:  # what the file says of them was true for its own size
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return declared


def _settle(model: onnx.ModelProto, declared: Shape) -> None:
    """Infers and folds until nothing more follows; afterwards every shape that can be known is consistent."""
    while True:
        known = inferred(model)
        _check_sizes(model, known, declared)
        if not (fold_shapes(model.graph, known) | fold(model.graph) | explicit_pads(model.graph, known)):
            break
    try:
        inferred(model, strict=True)
    except Error as problem:
        raise Error(f"{_size(model)} does not fit this network: {problem}{_advice(model, declared)}") from None


def _check_sizes(model: onnx.ModelProto, known: Mapping[str, onnx.ValueInfoProto], declared: Shape) -> None:
    for node, what in _misfits(model, known):
        raise Error(f"{describe(node)} {what}, for {_size(model)}{_advice(model, declared)}")


def _misfits(model: onnx.ModelProto, known: Mapping[str, onnx.ValueInfoProto]) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Nodes that the picture's size breaks, and how."""
    fixed = constants(model.graph)
    for node in model.graph.node:
        got, made = (
            dims(known[names[0]]) if names and names[0] in known else None for names in (node.input, node.output)
        )
        if node.op_type in WINDOWED and not node.domain and got is not None and too_small(node, fixed, got):
            yield node, f"has windows that do not fit into {_by(got)}: the picture is too small"
        if made is not None and any(size is not None and size < 1 for size in made):
            yield node, f"would make a tensor of size {_by(made)}: the picture is too small"
        if node.op_type == "Reshape" and node.input[1] in fixed and got is not None:
            wanted = array(fixed[node.input[1]])
            if not _reshapes(got, wanted):
                yield node, f"is fixed to {_by(wanted.tolist())} and cannot take {_by(got)}"
        if node.op_type in ("Gemm", "MatMul") and all(name in known for name in node.input[:2]):
            a, b = (dims(known[name]) for name in node.input[:2])
            sizes = _inner(node, a, b) if a and b else None
            if sizes is not None and sizes[0] != sizes[1]:
                yield node, f"takes {sizes[1]} features and cannot take {sizes[0]}"


def _reshapes(got: Shape, wanted: Array) -> bool:
    sizes = [got[i] if n == 0 and i < len(got) else int(n) for i, n in enumerate(wanted)]
    closed = [n for n in (*got, *sizes) if n is not None]
    if len(closed) < len(got) + len(sizes):
        return True
    whole, part = math.prod(closed[: len(got)]), math.prod(n for n in closed[len(got) :] if n != -1)
    return (part > 0 and whole % part == 0) if -1 in sizes else whole == part


def _inner(node: onnx.NodeProto, a: Shape, b: Shape) -> tuple[int, int] | None:
    """The two sizes that a matrix product sums over."""
    flags = {x.name: x.i for x in node.attribute}
    left = a[0] if flags.get("transA") else a[-1]
    right = b[-1] if flags.get("transB") or len(b) == 1 else b[-2]
    return None if left is None or right is None else (left, right)


def _by(sizes: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)


def _size(model: onnx.ModelProto) -> str:
    return f"a picture of {_by(dims(pictures(model.graph)[0]) or ())} (N x C x H x W)"


def _advice(model: onnx.ModelProto, declared: Shape) -> str:
    """Which sizes would do: the one that the file declares, and squares that go through when tried."""
    batch, channels = dims(pictures(model.graph)[0])[:2]  # type: ignore[index]  # its rank was set before
    good = [str(size) for size in TRIED if _fits(model, (batch, channels, size, size))]
    fits = f"; squares that fit: {', '.join(good[:8])}{', ...' if len(good) > 8 else ''}" if good else ""
    made_for = f"; it was made for {_by(declared)}" if None not in declared[2:] else ""
    return made_for + fits


def _fits(model: onnx.ModelProto, shape: Shape) -> bool:
    trial = light(model)
    _set_shape(trial, shape)
    try:
        known = inferred(trial, strict=True)
    except Error:
        return False
    return not any(_misfits(trial, known))
