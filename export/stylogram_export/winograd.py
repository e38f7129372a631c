"""Convolutions at stride 1 as ops that the engine's library adds to ONNX Runtime.

3x3: `stylogram.WinogradConv`. 1x1: `stylogram.PointwiseConv`, in a gradient, and where a network ends or is tapped:
ONNX Runtime's own have a layout of their own, and copies to and from it.

`differentiate` gives standard ONNX; this turns its pair into one that runs faster on a CPU, and only where that library
is registered. WinogradConv takes up what stands around its convolution, so that no tensor is written for it:

    behind it:   bias, ReLU, and a max- or average-pool of 2x2, for the gradient with the places of the maxima (uint8);
    before it:   in a gradient, the mask of a ReLU (or the rules `deconvnet` and `guided`), the sum with the gradient
                 that a tap brings, and the spreading of a pool's gradient.

PointwiseConv takes up bias, mask and rules. The places of the maxima then go from forward to backward in place of
the tensor that was pooled. What does not fit the pattern stays as it is.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .backward import Derivative
from .domain import DOMAIN, VERSION
from .graph import Array, array, attributes, constants, dims, fresh, inferred, names, needed, rebuild
from .pooling import mask_of, rewrite_pools

OP, POINTWISE = "WinogradConv", "PointwiseConv"
POSITIONS = 1024  # of a picture, from which on a 1x1 convolution is ours
TILES = 9  # of 4x4; on fewer, up to 8x8 positions, ONNX Runtime's own is faster
BLOCK = 64  # filters whose weights stand together, as the kernel wants them


def rewrite(derivative: Derivative) -> Derivative:
    """The pair with WinogradConv wherever it fits. Both graphs have to run with the op, or neither."""
    forward, (backward,), saved = _rewritten(derivative, [derivative.backward])
    return replace(derivative, forward=forward, backward=backward, saved=saved)


def rewrite_stages(
    derivative: Derivative, stages: Sequence[onnx.ModelProto]
) -> tuple[onnx.ModelProto, list[onnx.ModelProto]]:
    """The same with the backward graph in several models: the forward one, and those."""
    forward, made, _ = _rewritten(derivative, stages)
    return forward, made


def _rewritten(
    derivative: Derivative, stages: Sequence[onnx.ModelProto]
) -> tuple[onnx.ModelProto, list[onnx.ModelProto], tuple[str, ...]]:
    forward = _Forward(derivative.forward)
    made = [_Backward(stage, forward).model() for stage in stages]
    read = {value.name for model in made for value in model.graph.input}
    saved = [name for name in derivative.saved if name in read]
    outputs = [*derivative.taps, *(name for name in saved if name not in derivative.taps)]
    places = [node.where for node in forward.convolutions if node.where]
    return forward.model(outputs), made, (*saved, *places)


def rewrite_forward(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that is run for its outputs alone, with WinogradConv wherever it fits."""
    return _Forward(model).model([value.name for value in model.graph.output])


def packed(weight: Array) -> Array:
    """A Conv's weights (K, C, 3, 3) as the op wants them: (blocks, 3, 3, C, 64), the last block filled with zeros."""
    blocks = -(-weight.shape[0] // BLOCK)
    whole = np.zeros((blocks * BLOCK, *weight.shape[1:]), np.float32)
    whole[: weight.shape[0]] = weight
    return np.ascontiguousarray(whole.reshape(blocks, BLOCK, -1, 3, 3).transpose(0, 3, 4, 2, 1))


@dataclass
class _Convolution:
    """A node to be. `source` is the Conv or ConvTranspose that it replaces; "" is a tensor that it does not have."""

    source: onnx.NodeProto
    pads: Sequence[int]
    x: str
    bias: str = ""
    add: str = ""
    mask: str = ""
    spread: str = "none"
    places: str = ""  # read
    size: Sequence[int] = (0, 0)
    rectify_input: bool = False
    y: str = ""
    rectify: bool = False
    pool: str = "none"
    pooled: str = ""
    where: str = ""  # made


def _fits(node: onnx.NodeProto, fixed: dict[str, onnx.TensorProto], kind: str, side: int = 3) -> bool:
    """Whether it is a `kind` of one group at stride 1, in float32, with explicit pads and constant, square weights."""
    if node.op_type != kind or node.domain or node.input[1] not in fixed:
        return False
    weight, stated = fixed[node.input[1]], attributes(node)
    plain = set(stated.get("strides", [1])) == set(stated.get("dilations", [1])) == {1}
    explicit = stated.get("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in stated
    return (
        weight.data_type == TensorProto.FLOAT
        and list(weight.dims[2:]) == [side, side]
        and stated.get("group", 1) == 1
        and plain
        and explicit
        and not any(stated.get("output_padding", [0]))
    )


def _halves(node: onnx.NodeProto) -> bool:
    """Whether a pool has windows of 2x2 that neither overlap nor reach beyond the input."""
    stated = attributes(node)
    return (
        stated["kernel_shape"] == stated.get("strides") == [2, 2]
        and not any(stated.get("pads", [0]))
        and set(stated.get("dilations", [1])) == {1}
        and not stated.get("ceil_mode", 0)
        and stated.get("auto_pad", "NOTSET") == "NOTSET"
    )


class _Rewriting:
    """What both directions share: who makes and who reads a tensor, and the making of the new graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.source = model
        self.nodes = list(model.graph.node)
        self.fixed = constants(model.graph)
        self.outputs = [value.name for value in model.graph.output]
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.uses = Counter([*self.outputs, *(name for node in self.nodes for name in node.input)])
        self.taken = names(model.graph)
        self.convolutions: list[_Convolution] = []
        self._packed: dict[str, onnx.TensorProto] = {}

    @cached_property
    def types(self) -> dict[str, onnx.ValueInfoProto]:
        """Of the source's tensors, as far as they can be known."""
        return inferred(self.source)

    def winograd(self, node: onnx.NodeProto, kind: str) -> bool:
        """Whether it is a `kind` of 3x3 on enough tiles that the transformed weights, four times as many, pay.

        Of one picture: in a batch each is to get what it gets alone.
        """
        if not _fits(node, self.fixed, kind):
            return False
        shape = dims(self.types[node.output[0]]) if node.output[0] in self.types else None
        if shape is None or None in shape:
            return True
        height, width = (int(size or 0) for size in shape[-2:])
        return -(-height // 4) * -(-width // 4) >= TILES

    def pointwise(self, node: onnx.NodeProto, kind: str) -> bool:
        """Whether it is a `kind` of 1x1 without pads, on enough positions that arranging the weights is little."""
        if not _fits(node, self.fixed, kind, 1) or any(attributes(node).get("pads", [0])):
            return False
        shape = dims(self.types[node.input[0]]) if node.input[0] in self.types else None
        return shape is not None and None not in shape and math.prod(shape[2:]) >= POSITIONS  # type: ignore[arg-type]

    def made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node of this kind that makes a tensor which nothing else reads."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == kind and not node.domain and self.uses[name] == 1 else None

    def node(self, conv: _Convolution) -> onnx.NodeProto:
        """The op's node; its weights go to the constants."""
        weight = array(self.fixed[conv.source.input[1]])
        if weight.shape[2:] == (1, 1):
            return self._pointwise(conv, weight[:, :, 0, 0])
        name = f"{conv.source.input[1]}:packed"
        if conv.source.op_type == "ConvTranspose":  # the same as a convolution with these
            weight, name = np.flip(weight.swapaxes(0, 1), axis=(2, 3)), f"{name}:turned"
        if name not in self._packed:
            self._packed[name] = numpy_helper.from_array(packed(weight), name)
        read = [conv.x, name, conv.bias, conv.places, conv.add, conv.mask]
        made = [conv.y, conv.pooled, conv.where]
        words: dict[str, Any] = {"pads": conv.pads, "size": conv.size, "filters": weight.shape[0]}
        words |= {"rectify_input": int(conv.rectify_input), "rectify": int(conv.rectify)}
        words |= {"spread": conv.spread, "pool": conv.pool}
        title = conv.source.name or (conv.y or conv.pooled)
        return helper.make_node(OP, _trimmed(read), _trimmed(made), title, domain=DOMAIN, **words)

    def _pointwise(self, conv: _Convolution, weight: Array) -> onnx.NodeProto:
        name = f"{conv.source.input[1]}:matrix"
        if conv.source.op_type == "ConvTranspose":
            weight, name = weight.T, f"{name}:turned"
        if name not in self._packed:
            self._packed[name] = numpy_helper.from_array(np.ascontiguousarray(weight), name)
        read, rectify = _trimmed([conv.x, name, conv.bias, conv.mask]), int(conv.rectify_input)
        title = conv.source.name or conv.y
        return helper.make_node(POINTWISE, read, [conv.y], title, domain=DOMAIN, rectify_input=rectify)

    def build(
        self, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], more: Sequence[onnx.ValueInfoProto] = ()
    ) -> onnx.ModelProto:
        """The source's model with other nodes and outputs; `more`: types of tensors that it did not have."""
        graph = self.source.graph
        nodes, used = needed(nodes, outputs)
        known = {v.name: v for v in [*graph.value_info, *graph.input, *graph.output, *more]}
        if any(name not in known for name in outputs):
            known = {**self.types, **known}
        made = onnx.GraphProto(name=graph.name, doc_string=graph.doc_string)
        made.node.extend(nodes)
        made.input.extend(value for value in graph.input if value.name in used)
        made.output.extend(known[name] for name in outputs)
        made.value_info.extend(value for value in graph.value_info if value.name in used and value.name not in outputs)
        made.initializer.extend(t for t in [*graph.initializer, *self._packed.values()] if t.name in used)
        model = rebuild(self.source, made)
        if any(node.domain == DOMAIN for node in nodes):
            model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        return model


def _trimmed(tensors: Sequence[str]) -> list[str]:
    count = max(i for i, name in enumerate(tensors) if name) + 1
    return list(tensors[:count])


class _Forward(_Rewriting):
    """Convolutions with bias, ReLU and pool."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._absorbed: set[str] = set()
        for node in self.nodes:
            if self.winograd(node, "Conv") and min(attributes(node).get("pads", [0])) >= 0:
                self.convolutions.append(self._pooling(self._convolution(node)))
            elif node.output[0] in self.outputs and self.pointwise(node, "Conv"):
                # In the middle of a network ONNX Runtime's layout may go on, and its sums with it.
                self.convolutions.append(self._convolution(node))
        self.pooled = {conv.y: conv for conv in self.convolutions if conv.pool == "max"}

    def _convolution(self, node: onnx.NodeProto) -> _Convolution:
        bias = node.input[2] if len(node.input) > 2 else ""
        conv = _Convolution(node, attributes(node).get("pads", [0] * 4), node.input[0], bias, y=node.output[0])
        relu = self._readers.get(conv.y, [])
        if len(relu) == 1 and relu[0].op_type == "Relu" and conv.y not in self.outputs:
            conv.y, conv.rectify = relu[0].output[0], True
            self._absorbed.add(relu[0].output[0])
        return conv

    def _pooling(self, conv: _Convolution) -> _Convolution:
        kinds = {"MaxPool": "max", "AveragePool": "average"}
        for pool in self._readers.get(conv.y, []):
            if conv.pool == "none" and pool.op_type in kinds and len(pool.output) == 1 and _halves(pool):
                conv.pool, conv.pooled = kinds[pool.op_type], pool.output[0]
                self._absorbed.add(pool.output[0])
        return conv

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """With these of the source's outputs, and the places of maxima that backward asked for."""
        replaced = {conv.source.output[0]: conv for conv in self.convolutions}
        read = {name for node in self.nodes if not self._absorbed.intersection(node.output) for name in node.input}
        made, places, types = [], [], []
        for node in self.nodes:
            conv = replaced.get(node.output[0])
            if conv is None:
                made += [] if self._absorbed.intersection(node.output) else [node]
                continue
            needs_y = conv.y in read or conv.y in outputs or not conv.pooled
            made.append(self.node(replace(conv, y=conv.y if needs_y else "")))
            if conv.where:
                places.append(conv.where)
                types.append(self._places(conv))
        return self.build(made, [*outputs, *places], types)

    def _places(self, conv: _Convolution) -> onnx.ValueInfoProto:
        shape = dims(self.types[conv.pooled])
        return helper.make_tensor_value_info(conv.where, TensorProto.UINT8, shape)


class _Backward(_Rewriting):
    """Convolutions of a gradient, with what is done to it before."""

    def __init__(self, model: onnx.ModelProto, forward: _Forward) -> None:
        super().__init__(model)
        self._pooled = forward.pooled
        self.taken |= forward.taken  # places of maxima get a name in both graphs
        for node in self.nodes:
            pads = attributes(node).get("pads", [0] * 4)
            if self.winograd(node, "Conv") and min(pads) >= 0:
                self.convolutions.append(self._convolution(node, pads))
            elif self.winograd(node, "ConvTranspose") and max(pads) <= 2:
                self.convolutions.append(self._convolution(node, [2 - pad for pad in pads]))
            elif self.pointwise(node, "Conv") or self.pointwise(node, "ConvTranspose"):
                self.convolutions.append(self._convolution(node, [0] * 4, pointwise=True))

    def _convolution(self, node: onnx.NodeProto, pads: Sequence[int], pointwise: bool = False) -> _Convolution:
        bias = node.input[2] if len(node.input) > 2 else ""
        conv = _Convolution(node, pads, node.input[0], bias, y=node.output[0])
        shape = dims(self.types[conv.x]) if conv.x in self.types else None
        if shape is None or len(shape) != 4 or None in shape:
            return conv
        conv.size = shape[2:]  # type: ignore[assignment]  # closed, as was just seen
        steps: list[Callable[[_Convolution], None]] = [self._masked, self._rectified, self._added, self._spread]
        for step in steps[:2] if pointwise else steps:
            step(conv)
        return conv

    def _positive(self, name: str) -> str:
        """The tensor whose positive places the mask `name` shows; "" if it is none."""
        return mask_of(self.makers.get(name))

    def _masked(self, conv: _Convolution) -> None:
        product = self.made_by(conv.x, "Mul")
        if product is None:
            return
        for gradient, mask in (product.input, product.input[::-1]):
            if self._positive(mask) and self._same_shape(gradient, mask):
                conv.x, conv.mask = gradient, self._positive(mask)
                return

    def _rectified(self, conv: _Convolution) -> None:
        relu = self.made_by(conv.x, "Relu")
        if relu is not None:
            conv.x, conv.rectify_input = relu.input[0], True

    def _added(self, conv: _Convolution) -> None:
        total = self.made_by(conv.x, "Add")
        if total is not None and self._same_shape(*total.input):
            first, second = total.input
            spreads = any(self.made_by(first, kind) for kind in ("MaxUnpool", "ConvTranspose"))
            conv.x, conv.add = (first, second) if spreads else (second, first)

    def _same_shape(self, *tensors: str) -> bool:
        shapes = {dims(self.types[name]) if name in self.types else None for name in tensors}
        return len(shapes) == 1 and None not in shapes

    def _spread(self, conv: _Convolution) -> None:
        mean, unpool = self.made_by(conv.x, "ConvTranspose"), self.made_by(conv.x, "MaxUnpool")
        if mean is not None and self._spreads_mean(mean):
            conv.x, conv.spread = mean.input[0], "average"
        elif unpool is not None and self._pool(unpool) is not None:
            self._unpooled(conv, unpool)

    def _spreads_mean(self, node: onnx.NodeProto) -> bool:
        stated, weight = attributes(node), self.fixed.get(node.input[1])
        return (
            weight is not None
            and len(node.input) == 2
            and list(weight.dims[1:]) == [1, 2, 2]
            and stated.get("group", 1) == weight.dims[0]
            and stated.get("strides") == [2, 2]
            and not any(stated.get("pads", [0]))
            and max(stated.get("output_padding", [0])) <= 1
            and bool((array(weight) == 0.25).all())
        )

    def _pool(self, unpool: onnx.NodeProto) -> onnx.NodeProto | None:
        """The pool whose places it reads, if forward's convolution can hand them out."""
        pool = self.makers.get(unpool.input[1])
        if pool is None or pool.op_type != "MaxPool" or pool.input[0] not in self._pooled:
            return None
        fits = _halves(pool) and attributes(unpool).get("strides") == [2, 2]
        return pool if fits and not any(attributes(unpool).get("pads", [0])) else None

    def _unpooled(self, conv: _Convolution, unpool: onnx.NodeProto) -> None:
        pool = self._pool(unpool)
        assert pool is not None
        pooling = self._pooled[pool.input[0]]
        pooling.where = pooling.where or fresh(f"{pooling.pooled}:places", self.taken)
        conv.x, conv.spread, conv.places = unpool.input[0], "first", pooling.where
        product = self.made_by(conv.x, "Mul")
        if product is not None:
            gradient, mask = product.input
            if self._positive(mask) == pool.output[0]:
                conv.x, conv.spread = gradient, "positive"

    def model(self) -> onnx.ModelProto:
        """The graph; it reads the places of maxima, and no more what they replace."""
        replaced = {conv.source.output[0]: conv for conv in self.convolutions}
        nodes = [self.node(replaced[n.output[0]]) if n.output[0] in replaced else n for n in self.nodes]
        nodes, _ = needed(nodes, self.outputs)
        made = self.build(rewrite_pools(nodes, self.outputs, self.types), self.outputs)
        for conv in self.convolutions:
            if conv.places:
                shape = self._pooled_shape(conv)
                made.graph.input.append(helper.make_tensor_value_info(conv.places, TensorProto.UINT8, shape))
        return made

    def _pooled_shape(self, conv: _Convolution) -> Sequence[int | None]:
        shape = dims(self.types[conv.source.input[0]])
        assert shape is not None
        return [*shape[:2], *(size // 2 for size in shape[2:] if size is not None)]
