"""A pair of graphs as GPUs' providers run it. What a CPU is fast at is not what they know:

    HardSigmoid(3e38 y) · g, the mask of a ReLU    ->  Where(y > 0, g, 0)
    MaxUnpool(g, i), which only the CPU has        ->  ScatterElements(0, i, g), or without indices:

TensorRT has no MaxPool with indices either. There windows of 2x2 are sorted by SpaceToDepth into four planes; the
gradient goes to the first that is their maximum, and DepthToSpace puts the planes back.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .backward import Derivative
from .errors import Error
from .graph import attributes, dims, fresh, inferred, names, rebuild
from .pooling import mask_of


def portable(pair: Derivative, indices: bool = True) -> Derivative:
    """The pair with its backward graph rewritten. `indices`: the provider has MaxPool with indices.

    Raises Error for a max-pool that cannot be written without them: open sizes, or windows other than 2x2 side by side.
    """
    return replace(pair, backward=_Rewrite(pair.backward, indices).model())


class _Rewrite:
    def __init__(self, model: onnx.ModelProto, indices: bool) -> None:
        self._model, self._indices = model, indices
        graph = model.graph
        self._taken = names(graph)
        self._shapes = _shapes(model)
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._zero = ""

    def model(self) -> onnx.ModelProto:
        graph = self._model.graph
        masks = {node.output[0]: node.input[0] for node in graph.node if mask_of(node)}
        for node in graph.node:
            if node.output[0] in masks:
                continue
            sides = [name for name in node.input if name in masks] if node.op_type == "Mul" else []
            if len(sides) == 1:
                self._masked(node, masks[sides[0]], sides[0])
            elif node.op_type == "MaxUnpool":
                self._unpooled(node)
            else:
                self._nodes.append(node)
        left = {name for node in self._nodes for name in node.input}
        kept = [node for node in graph.node if node.output[0] in masks and node.output[0] in left]
        pools = self._nodes if self._indices else [_without_indices(node) for node in self._nodes]
        nodes = _sorted([*kept, *pools], self._available())
        made = onnx.GraphProto()
        made.CopyFrom(graph)
        del made.node[:]
        made.node.extend(nodes)
        made.initializer.extend(self._constants)
        return rebuild(self._model, made)

    def _available(self) -> set[str]:
        graph = self._model.graph
        return {v.name for v in graph.input} | {t.name for t in (*graph.initializer, *self._constants)} | {""}

    def _op(self, op: str, inputs: Sequence[str], wanted: str, output: str = "", **stated: Any) -> str:
        name = output or fresh(wanted, self._taken)
        self._nodes.append(helper.make_node(op, list(inputs), [name], **stated))
        return name

    def _constant(self, wanted: str, values: Any) -> str:
        name = fresh(wanted, self._taken)
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _nothing(self) -> str:
        self._zero = self._zero or self._constant("zero", np.float32(0))
        return self._zero

    def _masked(self, node: onnx.NodeProto, source: str, mask: str) -> None:
        gradient = next(name for name in node.input if name != mask)
        positive = self._op("Greater", [source, self._nothing()], f"{mask}:positive")
        self._op("Where", [positive, gradient, self._nothing()], "", node.output[0])

    def _unpooled(self, node: onnx.NodeProto) -> None:
        pool = self._makers[node.input[1]]
        shape = self._shapes.get(pool.input[0])
        if shape is None:
            raise Error(f"the max-pool {pool.name!r}: on a GPU the picture's size must be closed")
        if self._indices:
            return self._scattered(node, shape)
        return self._sorted_out(node, pool, shape)

    def _scattered(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        gradient, where = node.input[:2]
        flat = self._constant("flat", np.array([-1], np.int64))
        size = self._constant("size", np.array([int(np.prod(shape))], np.int64))
        zeros = self._op(
            "ConstantOfShape", [size], "zeros", value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        )
        places = self._op("Reshape", [where, flat], f"{where}:flat")
        values = self._op("Reshape", [gradient, flat], f"{gradient}:flat")
        spread = self._op("ScatterElements", [zeros, places, values], f"{gradient}:spread", axis=0)
        self._op("Reshape", [spread, self._constant("shape", np.array(shape, np.int64))], "", node.output[0])

    def _sorted_out(self, node: onnx.NodeProto, pool: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        stated = attributes(pool)
        plain = not any(stated.get("pads", [])) and set(stated.get("dilations", [1])) == {1}
        if len(shape) != 4 or not plain or list(stated["kernel_shape"]) != [2, 2] or list(stated["strides"]) != [2, 2]:
            raise Error(f"the max-pool {pool.name!r}: without indices, windows of 2x2 side by side are accepted")
        c, height, width = shape[1:]
        h, w = height // 2, width // 2
        if stated.get("ceil_mode") and (height % 2 or width % 2):
            raise Error(f"the max-pool {pool.name!r}: without indices, even sizes are accepted with ceil_mode")
        source = self._cropped(pool.input[0], shape, (2 * h, 2 * w))
        planes = self._op("SpaceToDepth", [source], f"{source}:planes", blocksize=2)
        parts = [fresh(f"{source}:part{k}", self._taken) for k in range(4)]
        sizes = self._constant("channels", np.full(4, c, np.int64))
        self._nodes.append(helper.make_node("Split", [planes, sizes], parts, axis=1))
        gradient, highest = node.input[0], pool.output[0]
        made, before = [], ""
        for part in parts:
            here = self._op("Equal", [part, highest], f"{part}:highest")
            first = self._op("And", [here, before], f"{part}:first") if before else here
            made.append(self._op("Where", [first, gradient, self._nothing()], f"{part}:gx"))
            other = self._op("Not", [here], f"{part}:other")
            before = self._op("And", [before, other], f"{part}:none") if before else other
        joined = self._op("Concat", made, f"{source}:joined", axis=1)
        uneven = (2 * h, 2 * w) != (height, width)
        spread = self._op("DepthToSpace", [joined], f"{source}:spread", "" if uneven else node.output[0], blocksize=2)
        if uneven:
            pads = self._constant("pads", np.array([0, 0, 0, 0, 0, 0, height - 2 * h, width - 2 * w], np.int64))
            self._op("Pad", [spread, pads], "", node.output[0])

    def _cropped(self, name: str, shape: tuple[int, ...], size: tuple[int, int]) -> str:
        if shape[2:] == size:
            return name
        starts, ends = (self._constant("crop", np.array(values, np.int64)) for values in ([0, 0], size))
        return self._op(
            "Slice", [name, starts, ends, self._constant("axes", np.array([2, 3], np.int64))], f"{name}:even"
        )


def _without_indices(node: onnx.NodeProto) -> onnx.NodeProto:
    if node.op_type != "MaxPool" or len(node.output) == 1:
        return node
    return helper.make_node("MaxPool", list(node.input), [node.output[0]], node.name, **attributes(node))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of the tensors whose sizes are all closed."""
    found = {name: dims(value) for name, value in inferred(model).items()}
    return {name: tuple(map(int, sizes)) for name, sizes in found.items() if sizes and all(sizes)}  # type: ignore[arg-type]


def _sorted(nodes: Sequence[onnx.NodeProto], available: set[str]) -> list[onnx.NodeProto]:
    """Each node behind those that it reads from."""
    made, waiting = [], list(nodes)
    while waiting:
        ready = [node for node in waiting if set(node.input) <= available]
        if not ready:
            raise AssertionError("the graph has a cycle")
        for node in ready:
            available |= set(node.output)
        made += ready
        waiting = [node for node in waiting if node not in ready]
    return made
