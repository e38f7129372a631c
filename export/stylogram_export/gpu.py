"""A pair of graphs as GPUs' providers run it. What a CPU is fast at is not what they know:

    HardSigmoid(3e38 y) · g, the mask of a ReLU
    MaxUnpool(g, i), which only the CPU has

`ops`: ONNX Runtime's CUDA provider runs ours: CudaReluGradient and those of pooling.py; forward CudaBiasRelu, and the
pools too, since its own have no bfloat16. A ConvTranspose at stride 1 becomes a Conv for the same reason.
`indices`, standard ONNX, and for pools that the ops are not for: Where(y > 0, g, 0) and ScatterElements(0, i, g).
`planes`: TensorRT has no places of maxima. There windows of 2x2 are sorted by SpaceToDepth into four planes; the
gradient goes to the first that is their maximum, and DepthToSpace puts the planes back.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .backward import Derivative
from .domain import DOMAIN, VERSION
from .errors import Error
from .graph import array, attributes, dims, fresh, inferred, names, needed, rebuild
from .pooling import cuda_pools, cuda_spread, mask_of, rewrite_pools

WAYS = ("ops", "indices", "planes")
RELU_GRADIENT, BIAS_RELU = "CudaReluGradient", "CudaBiasRelu"


def portable(pair: Derivative, way: str = "ops") -> Derivative:
    """The pair as a GPU's provider runs it; `way`: one of WAYS.

    Raises Error for a max-pool of open sizes, and with `planes` for windows other than 2x2 side by side.
    """
    forward = portable_forward(pair.forward) if way == "ops" else pair.forward
    return replace(pair, forward=forward, backward=_Rewrite(pair.backward, way).model())


def portable_forward(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph without a gradient as ONNX Runtime's CUDA provider runs it."""
    types = inferred(model)
    outputs = [value.name for value in model.graph.output]
    return _with_ops(model, _biased(cuda_pools(model.graph.node, types), outputs, types), [], types)


def _biased(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], types: Mapping[str, onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    """The nodes with CudaBiasRelu for every ReLU over pictures behind a convolution, whose bias it takes."""
    makers = {name: node for node in nodes for name in node.output if name}
    uses = Counter([*outputs, *(name for node in nodes for name in node.input)])
    made: dict[str, list[onnx.NodeProto]] = {}  # by the first output of what they replace
    for node in nodes:
        conv = makers.get(node.input[0]) if node.op_type == "Relu" else None
        if conv is None or conv.op_type != "Conv" or len(conv.input) < 3 or uses[node.input[0]] > 1:
            continue
        if node.output[0] not in types or len(dims(types[node.output[0]]) or ()) != 4:
            continue
        made[conv.output[0]] = [helper.make_node("Conv", conv.input[:2], conv.output, conv.name, **attributes(conv))]
        read = [conv.output[0], conv.input[2]]
        made[node.output[0]] = [
            helper.make_node(BIAS_RELU, read, node.output, node.name, domain=DOMAIN, channels_last=0)
        ]
    return [other for node in nodes for other in made.get(node.output[0], [node])]


def _with_ops(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    types: Mapping[str, onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """The model with other nodes and more constants; what our ops make is said in it, since ONNX cannot infer it."""
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    ours = {name for node in nodes if node.domain == DOMAIN for name in node.output}
    said = {value.name for value in (*graph.value_info, *graph.output)}
    graph.value_info.extend(types[name] for name in sorted(ours - said))
    made = rebuild(model, graph)
    if ours:
        made.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return made


class _Rewrite:
    def __init__(self, model: onnx.ModelProto, way: str) -> None:
        self._model, self._way = model, way
        graph = model.graph
        self._taken = names(graph)
        self._types = inferred(model)
        self._given: list[onnx.NodeProto] = list(graph.node)
        if way == "ops":
            self._given = rewrite_pools(self._given, [v.name for v in graph.output], self._types, cuda=True)
            self._given = needed(self._given, [v.name for v in graph.output])[0]
        self._makers = {name: node for node in self._given for name in node.output if name}
        self._values = {tensor.name: tensor for tensor in graph.initializer}
        self._uses = Counter(name for node in self._given for name in node.input)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._zero = ""

    def model(self) -> onnx.ModelProto:
        masks = {node.output[0]: node.input[0] for node in self._given if mask_of(node)}
        for node in self._given:
            if node.output[0] in masks:
                continue
            sides = [name for name in node.input if name in masks] if node.op_type == "Mul" else []
            if len(sides) == 1:
                self._masked(node, masks[sides[0]], sides[0])
            elif node.op_type == "MaxUnpool":
                self._unpooled(node)
            else:
                spread = cuda_spread(node, self._types, self._values) if self._way == "ops" else None
                self._nodes.append(spread or self._convolved(node) or node)
        left = {name for node in self._nodes for name in node.input}
        kept = [node for node in self._given if node.output[0] in masks and node.output[0] in left]
        pools = [_without_indices(node) for node in self._nodes] if self._way == "planes" else self._nodes
        return _with_ops(self._model, _sorted([*kept, *pools], self._available()), self._constants, self._types)

    def _available(self) -> set[str]:
        graph = self._model.graph
        return {v.name for v in graph.input} | {t.name for t in (*graph.initializer, *self._constants)} | {""}

    def _op(self, op: str, inputs: Sequence[str], wanted: str, output: str = "", **stated: Any) -> str:
        name = output or fresh(wanted, self._taken)
        self._nodes.append(helper.make_node(op, list(inputs), [name], **stated))
        return name

    def _constant(self, wanted: str, values: Any) -> str:
        name = fresh(wanted, self._taken)
        self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def _nothing(self) -> str:
        self._zero = self._zero or self._constant("zero", np.float32(0))
        return self._zero

    def _convolved(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """A ConvTranspose at stride 1 as a Conv; None for other nodes."""
        stated = attributes(node) if node.op_type == "ConvTranspose" and self._way == "ops" else {}
        values = self._values.get(node.input[1]) if stated else None
        if values is None or set(stated.get("strides", [1])) != {1} or stated.get("group", 1) != 1:
            return None
        weight = array(values)
        rank = weight.ndim - 2
        dilations = stated.get("dilations", [1] * rank)
        reach = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)] * 2
        pads = [r - p for r, p in zip(reach, stated.get("pads", [0] * 2 * rank), strict=True)]
        if min(pads) < 0 or any(stated.get("output_padding", [])) or "output_shape" in stated:
            return None
        flipped = np.flip(weight.swapaxes(0, 1), axis=tuple(range(2, weight.ndim)))
        read = [node.input[0], self._constant(f"{node.input[1]}:flipped", flipped), *node.input[2:]]
        words = {"kernel_shape": weight.shape[2:], "pads": pads, "dilations": dilations}
        return helper.make_node("Conv", read, node.output, node.name, **words)

    def _masked(self, node: onnx.NodeProto, source: str, mask: str) -> None:
        gradient = next(name for name in node.input if name != mask)
        if self._way == "ops" and self._alike(source, gradient):
            parts = self._parts(gradient)
            self._nodes = [other for other in self._nodes if len(parts) == 1 or gradient not in other.output]
            made = helper.make_node(RELU_GRADIENT, [source, *parts], node.output, node.name, domain=DOMAIN)
            self._nodes.append(made)
            return
        positive = self._op("Greater", [source, self._nothing()], f"{mask}:positive")
        self._op("Where", [positive, gradient, self._nothing()], "", node.output[0])

    def _alike(self, *tensors: str) -> bool:
        shapes = [dims(self._types[name]) if name in self._types else None for name in tensors]
        return shapes[0] is not None and all(shape == shapes[0] for shape in shapes)

    def _parts(self, gradient: str) -> list[str]:
        """The two that make `gradient`, if they are added and nobody else asks for the sum."""
        made = self._makers.get(gradient)
        alone = made is not None and made.op_type == "Add" and self._uses[gradient] == 1
        return list(made.input) if made is not None and alone and self._alike(gradient, *made.input) else [gradient]

    def _unpooled(self, node: onnx.NodeProto) -> None:
        pool = self._makers[node.input[1]]
        shape = dims(self._types[pool.input[0]]) if pool.input[0] in self._types else None
        if not shape or not all(isinstance(size, int) and size for size in shape):
            raise Error(f"the max-pool {pool.name!r}: on a GPU the picture's size must be closed")
        sizes = tuple(map(int, shape))  # type: ignore[arg-type]
        if self._way != "planes":
            return self._scattered(node, sizes)
        return self._sorted_out(node, pool, sizes)

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
