"""A pair of graphs as GPUs' providers run it. What a CPU is fast at is not what they know:

    HardSigmoid(3e38 y) · g, the mask of a ReLU
    MaxUnpool(g, i), which only the CPU has

`ops`: ONNX Runtime's CUDA provider runs ours: CudaReluGradient and those of pooling.py; forward CudaBiasRelu, and the
pools too, since its own have no bfloat16. A ConvTranspose at stride 1 becomes a Conv for the same reason; others become
CudaConvTranspose, with `convs`.
`indices`, standard ONNX, and for pools that the ops are not for: Where(y > 0, g, 0) and ScatterElements(0, i, g).
`planes`: TensorRT has no places of maxima: planes.py does without.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from .backward import Derivative
from .domain import DOMAIN, VERSION
from .errors import Error
from .graph import array, attributes, dims, inferred, names, needed, rebuild
from .planes import Planes, Writer
from .pooling import CUDA_OP, closed, cuda_pools, cuda_spread, mask_of, rewrite_pools
from .vjp.conv import flipped

WAYS = ("ops", "indices", "planes")
RELU_GRADIENT, BIAS_RELU, CONV_TRANSPOSE = "CudaReluGradient", "CudaBiasRelu", "CudaConvTranspose"


def portable(pair: Derivative, way: str = "ops", convs: bool = False) -> Derivative:
    """The pair as a GPU's provider runs it; `way`: one of WAYS. `convs`: if channels_last with `convs` follows.

    Raises Error for a max-pool of open sizes, and with `planes` for windows with gaps or of unequal strides.
    """
    forward = portable_forward(pair.forward, convs) if way == "ops" else pair.forward
    return replace(pair, forward=forward, backward=_Rewrite(pair.backward, way, convs).model())


def portable_forward(model: onnx.ModelProto, convs: bool = False) -> onnx.ModelProto:
    """A graph without a gradient as ONNX Runtime's CUDA provider runs it."""
    types = inferred(model)
    outputs = [value.name for value in model.graph.output]
    nodes = cuda_pools(model.graph.node, types)
    if convs:
        values = {tensor.name: tensor for tensor in model.graph.initializer}
        nodes = [_transposed(node, types, values) or node for node in nodes]
    return _with_ops(model, _biased(nodes, outputs, types), [], types)


def _transposed(
    node: onnx.NodeProto, types: Mapping[str, onnx.ValueInfoProto], values: Mapping[str, onnx.TensorProto]
) -> onnx.NodeProto | None:
    """Our op for a ConvTranspose over pictures; None for other nodes, and where cuDNN's pads, which are those of both
    sides, cannot say which size it has."""
    if node.op_type != "ConvTranspose" or node.input[1] not in values:
        return None
    stated, weights = attributes(node), values[node.input[1]]
    made, sizes = closed(node.input[0], types), closed(node.output[0], types)
    if not made or not sizes or stated.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in stated:
        return None
    pads, strides = stated.get("pads", [0] * 4)[:2], stated.get("strides", [1, 1])
    dilations = stated.get("dilations", [1, 1])
    spans = [n + 2 * p - d * (k - 1) - 1 for n, p, d, k in zip(sizes, pads, dilations, weights.dims[2:], strict=True)]
    if [span // stride + 1 for span, stride in zip(spans, strides, strict=True)] != made:
        return None
    words = {"pads": pads, "strides": strides, "dilations": dilations, "sizes": sizes, "group": stated.get("group", 1)}
    return helper.make_node(CONV_TRANSPOSE, node.input, node.output, node.name, domain=DOMAIN, **words)


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


class _Rewrite(Writer):
    def __init__(self, model: onnx.ModelProto, way: str, convs: bool) -> None:
        graph = model.graph
        super().__init__(names(graph))
        self._model, self._way, self._convs = model, way, convs
        self._types = inferred(model)
        self._given: list[onnx.NodeProto] = list(graph.node)
        if way != "indices":
            self._given = rewrite_pools(self._given, [v.name for v in graph.output], self._types, cuda=True)
            self._given = needed(self._given, [v.name for v in graph.output])[0]
        self._makers = {name: node for node in self._given for name in node.output if name}
        self._values = {tensor.name: tensor for tensor in graph.initializer}
        self._uses = Counter(name for node in self._given for name in node.input)

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
            elif node.op_type == CUDA_OP and self._way == "planes":
                Planes(node, self._closed(node.input[0], node), self._closed(node.input[1], node), self).write()
            elif self._way == "planes" and node.op_type == "MaxPool" and len(node.output) > 1:
                raise Error(f"the max-pool {node.name!r}: without indices, 2D windows without dilations are accepted")
            else:
                spread = cuda_spread(node, self._types, self._values) if self._way == "ops" else None
                ours = spread or self._convolved(node)
                ours = ours or (_transposed(node, self._types, self._values) if self._convs else None)
                self.nodes.append(ours or node)
        left = {name for node in self.nodes for name in node.input}
        kept = [node for node in self._given if node.output[0] in masks and node.output[0] in left]
        return _with_ops(self._model, _sorted([*kept, *self.nodes], self._available()), self.constants, self._types)

    def _available(self) -> set[str]:
        graph = self._model.graph
        return {v.name for v in graph.input} | {t.name for t in (*graph.initializer, *self.constants)} | {""}

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
        back = self.constant(f"{node.input[1]}:flipped", flipped(weight, 1))
        read = [node.input[0], back, *node.input[2:]]
        words = {"kernel_shape": weight.shape[2:], "pads": pads, "dilations": dilations}
        return helper.make_node("Conv", read, node.output, node.name, **words)

    def _masked(self, node: onnx.NodeProto, source: str, mask: str) -> None:
        gradient = next(name for name in node.input if name != mask)
        if self._way == "ops" and self._alike(source, gradient):
            parts = self._parts(gradient)
            self.nodes = [other for other in self.nodes if len(parts) == 1 or gradient not in other.output]
            made = helper.make_node(RELU_GRADIENT, [source, *parts], node.output, node.name, domain=DOMAIN)
            self.nodes.append(made)
            return
        positive = self.op("Greater", [source, self.nothing()], f"{mask}:positive")
        self.op("Where", [positive, gradient, self.nothing()], "", node.output[0])

    def _alike(self, *tensors: str) -> bool:
        shapes = [dims(self._types[name]) if name in self._types else None for name in tensors]
        return shapes[0] is not None and all(shape == shapes[0] for shape in shapes)

    def _parts(self, gradient: str) -> list[str]:
        """The two that make `gradient`, if they are added and nobody else asks for the sum."""
        made = self._makers.get(gradient)
        alone = made is not None and made.op_type == "Add" and self._uses[gradient] == 1
        return list(made.input) if made is not None and alone and self._alike(gradient, *made.input) else [gradient]

    def _closed(self, tensor: str, node: onnx.NodeProto) -> tuple[int, ...]:
        shape = dims(self._types[tensor]) if tensor in self._types else None
        if not shape or not all(isinstance(size, int) and size for size in shape):
            raise Error(f"the max-pool {node.name!r}: on a GPU the picture's size must be closed")
        return tuple(map(int, shape))  # type: ignore[arg-type]

    def _unpooled(self, node: onnx.NodeProto) -> None:
        pool = self._makers[node.input[1]]
        self._scattered(node, self._closed(pool.input[0], pool))

    def _scattered(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        gradient, where = node.input[:2]
        flat = self.constant("flat", np.array([-1], np.int64))
        size = self.constant("size", np.array([int(np.prod(shape))], np.int64))
        zeros = self.op(
            "ConstantOfShape", [size], "zeros", value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        )
        places = self.op("Reshape", [where, flat], f"{where}:flat")
        values = self.op("Reshape", [gradient, flat], f"{gradient}:flat")
        spread = self.op("ScatterElements", [zeros, places, values], f"{gradient}:spread", axis=0)
        self.op("Reshape", [spread, self.constant("shape", np.array(shape, np.int64))], "", node.output[0])


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
