"""A graph as several that run one after the other, so that less of it is in memory at a time.

ONNX Runtime computes in a layout of its own and copies what is handed out to the plain one, but only when all the rest
is done: until then there are two of every output. In parts, one part's copies are gone before the next begins.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import onnx

from .graph import constants, dims, reads, rebuild, values

MOST = 2  # a part's outputs take at most so many times what the largest one takes: as backward does


def split(model: onnx.ModelProto) -> list[onnx.ModelProto]:
    """Models that together compute `model`, in order: each reads its inputs, and what those before it hand out.

    A cut is where nothing but outputs goes across: the parts hand out what `model` does and nothing else. Where there
    are such cuts, each part's outputs are at most twice as large as the largest. With open sizes `model` stays whole.
    """
    sizes = {value.name: _size(value) for value in model.graph.output}
    if None in sizes.values():
        return [model]
    known = {name: size for name, size in sizes.items() if size is not None}
    parts = _merged(_pieces(model.graph), known)
    return [model] if len(parts) == 1 else [_part(model, nodes, model.graph.output) for nodes in parts]


def pieces(model: onnx.ModelProto, least: int) -> list[onnx.ModelProto]:
    """The same with a cut wherever, beside outputs, one tensor of at least `least` elements alone goes across.

    A part hands it out too: whoever runs the parts then says where it lies, and what may lie there before and after.
    """
    graph, types = model.graph, values(model.graph)
    fixed = {*constants(graph), *types.keys() & {value.name for value in [*graph.input, *graph.output]}}
    last = {name: at for at, node in enumerate(graph.node) for name in reads(node)}
    parts: list[onnx.ModelProto] = []
    alive: set[str] = set()
    begin = 0
    for at, node in enumerate(graph.node):
        alive = {name for name in (*alive, *node.output) if name not in fixed and last.get(name, at) > at}
        across = [types[name] for name in alive if name in types]
        if len(alive) == len(across) == 1 and (_size(across[0]) or 0) >= least:
            parts.append(_part(model, graph.node[begin : at + 1], [*graph.output, *across]))
            begin = at + 1
    return [*parts, _part(model, graph.node[begin:], graph.output)] if parts else [model]


def _size(value: onnx.ValueInfoProto) -> int | None:
    """How many elements it has; None where a size is open."""
    shape = dims(value) or (None,)
    closed = [size for size in shape if size is not None]
    return math.prod(closed) if len(closed) == len(shape) else None


def _pieces(graph: onnx.GraphProto) -> Iterator[list[onnx.NodeProto]]:
    """The nodes in as many runs as there can be with only outputs, inputs and constants going from one to another."""
    last = {name: at for at, node in enumerate(graph.node) for name in reads(node)}
    outputs = {value.name for value in graph.output}
    piece: list[onnx.NodeProto] = []
    open_until = 0
    for at, node in enumerate(graph.node):
        piece.append(node)
        open_until = max([open_until, *(last.get(name, at) for name in node.output if name not in outputs)])
        if open_until <= at:
            yield piece
            piece = []


def _merged(pieces: Iterator[list[onnx.NodeProto]], sizes: dict[str, int]) -> list[list[onnx.NodeProto]]:
    """Pieces put together as long as their outputs stay under the limit; one that makes none goes with the next."""
    limit = MOST * max(sizes.values())
    parts: list[list[onnx.NodeProto]] = [[]]
    room = limit
    for piece in pieces:
        made = sum(sizes.get(name, 0) for node in piece for name in node.output)
        if made > room and parts[-1]:
            parts.append([])
            room = limit
        parts[-1] += piece
        room -= made
    return parts


def _part(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """A model of some of the nodes, with those of `outputs` that they make and the weights that they read."""
    graph, known = model.graph, values(model.graph)
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in reads(node) if name not in made)
    fixed = constants(graph)
    part = onnx.GraphProto(name=graph.name)
    part.node.extend(nodes)
    part.input.extend(known[name] for name in read if name not in fixed)
    handed = {value.name: value for value in outputs}
    part.output.extend(value for name, value in handed.items() if name in made)
    part.value_info.extend(v for v in graph.value_info if v.name in made and v.name not in handed)
    part.initializer.extend(fixed[name] for name in read if name in fixed)
    return rebuild(model, part)
