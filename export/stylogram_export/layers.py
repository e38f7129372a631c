"""Names for a network's activations, and which of them are the style and content layers unless others are asked for.

A file of ours declares them in its metadata. For any other network `discover` finds them, by this rule:

1. A *layer* is a tensor with rows and columns that comes out of an activation function, or of a Concat, Add or Mul of
   such tensors, and that every path from the input to the deepest output goes through. So: VGG's ReLUs, SqueezeNet's
   fire modules after their Concat, a ResNet's ReLU after each Add, an Inception's stem and Concats, a DenseNet's ReLU
   before each transition. Not the convolution before its ReLU, nor a pool or a normalisation, nor a single branch.
2. Not counted: an activation on which nothing but another activation follows before the next weights (a ReLU after a
   Concat stands for both), and a bottleneck: a 1×1 convolution to fewer channels than it reads (SqueezeNet's squeeze).
   Where fewer than three layers remain (U-Nets), the activations of branches count too.
3. Stages are runs of layers of one total stride. The i-th layer of the s-th stage is `conv<s>_<i>`: on VGG the paper's
   names, on a ResNet the paper's conv2_x ... conv5_x. `relu<s>_<i>` and Keras' `block<s>_conv<i>` mean the same tensor,
   `conv<s>_<i>:linear` what goes into its activation function, `pool<s>` the pool after the stage.
4. Default style layers: of the stages up to total stride 16, the first layers of each, as many of each as make at most
   eight in all, and one of each where there are five stages or more (VGG: conv1_1 ... conv5_1, as Gatys et al. 2016;
   SqueezeNet: conv1, fire2-7, fire9). The layer of the classes itself is left out.
5. Default content layer: the first one with two convolutions in a row at total stride 8 behind it (VGG: conv4_2;
   SqueezeNet: fire5, a squeeze and an expansion; ResNet: conv3_1), or in the stage nearest to that stride.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from .errors import Error, one_of
from .graph import attributes, constants, needed, pictures, reads
from .receptive import Field, fields

STYLE_STRIDE = 16
CONTENT_STRIDE = 8
CONTENT_DEPTH = 2
MOST_STYLE_LAYERS = 8
ENOUGH_STAGES = 5

_RECTIFIERS = ("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Celu", "Selu", "Clip")
_SMOOTH = ("Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Swish", "Softplus", "Softsign", "Mish", "Gelu", "Erf")
ACTIVATIONS = frozenset(_RECTIFIERS + _SMOOTH)
_JOINS = frozenset(("Concat", "Add", "Sum", "Mul"))  # of activations: an activation
_PASS = frozenset(("MaxPool", "AveragePool", "Dropout", "Identity", "LRN", "Cast", "Pad", "Resize", "Slice"))
_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_POOLS = frozenset(("MaxPool", "AveragePool", "LpPool"))


@dataclass(frozen=True)
class Layers:
    """Layer names -> tensors in depth order, and the default layers.

    `also`: further names that are accepted (`conv1_1:linear`, `pool1`). `tensors`: the graph's own names, accepted
    too; they come from the graph, not from the metadata. `weights`: of default style layers; 1 where nothing is said.
    `coarse`: default style layers, with their weights, of large pictures alone: they see coarser structures.
    """

    names: Mapping[str, str]
    style: tuple[str, ...]
    content: tuple[str, ...]
    also: Mapping[str, str] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    coarse: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.style, *self.content, *self.coarse):
            if name not in self.names and name not in self.also:
                raise one_of("layer", name, self.names)
        for name in self.weights:
            if name not in self.style:
                raise one_of("weighted style layer", name, self.style)
        for name, weight in (*self.weights.items(), *self.coarse.items()):
            if not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
                raise Error(f"layers: the weight of {name} must be a number above 0, got {weight!r}")

    def tensor(self, name: str) -> str:
        """The tensor of a layer. A layer's name goes before a tensor that is called the same.

        Accepted are conv4_2, relu4_2, block4_conv2, block4_pool, the names in `also`, and tensors. Raises Error for any
        other, the nearest first.
        """
        for known in (self.names, self.also):
            for spelling in (name, canonical(name)):
                if spelling in known:
                    return known[spelling]
        if name in self.tensors:
            return name
        raise one_of("layer", name, dict.fromkeys((*self.names, *self.also, *self.tensors)))

    def of(self, model: onnx.ModelProto) -> "Layers":
        """These layers with the tensors of `model`. Raises Error if a name stands for a tensor that is not there."""
        tensors = tuple(_data_tensors(model.graph))
        for name, tensor in {**self.names, **self.also}.items():
            if tensor not in tensors:
                raise Error(f"layer {name!r} is declared as tensor {tensor!r}, which the network does not have")
        return replace(self, tensors=tensors)

    def to_json(self) -> str:
        """One line for `metadata_props`."""
        entries = {"names": dict(self.names), "style": self.style, "content": self.content, "also": dict(self.also)}
        weighted = {"weights": dict(self.weights), "coarse": dict(self.coarse)}
        return json.dumps(entries | {name: weights for name, weights in weighted.items() if weights})

    @classmethod
    def from_json(cls, text: str) -> "Layers":
        """The inverse of to_json; `also`, `weights` and `coarse` may be absent. Raises Error for anything else."""
        try:
            entries = json.loads(text)
        except json.JSONDecodeError as error:
            raise Error(f"layers: not JSON: {text[:80]!r} ({error})") from error
        needs = {"names", "style", "content"}
        accepts = needs | {"also", "weights", "coarse"}
        if not isinstance(entries, dict) or not needs <= set(entries) <= accepts:
            raise Error(f"layers: an object with {', '.join(sorted(accepts))} is needed, got {text[:200]}")
        return cls(
            _strings(entries, "names"),
            tuple(_list(entries, "style")),
            tuple(_list(entries, "content")),
            _strings(entries, "also"),
            weights=_numbers(entries, "weights"),
            coarse=_numbers(entries, "coarse"),
        )


def canonical(name: str) -> str:
    """conv4_2 for relu4_2 and block4_conv2, pool4 for block4_pool; any other name as it is."""
    name = re.sub(r"^relu(\d+_\d+)", r"conv\1", name)
    name = re.sub(r"^block(\d+)_conv(\d+)", r"conv\1_\2", name)
    return re.sub(r"^block(\d+)_pool$", r"pool\1", name)


def _strings(entries: Mapping[str, object], key: str) -> dict[str, str]:
    value = entries.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise Error(f"layers: {key} must be an object of strings, got {str(value)[:120]}")
    return value


def _numbers(entries: Mapping[str, object], key: str) -> dict[str, float]:
    value = entries.get(key, {})
    if not isinstance(value, dict):
        raise Error(f"layers: {key} must be an object of numbers, got {str(value)[:120]}")
    return value


def _list(entries: Mapping[str, object], key: str) -> list[str]:
    value = entries[key]
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise Error(f"layers: {key} must be a list of names, got {str(value)[:120]}")
    return value


def _data_tensors(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Every tensor that depends on the picture, and the node that makes it, in graph order."""
    live = {value.name for value in pictures(graph)}
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if live.intersection(reads(node)):
            live.update(node.output)
            makers.update((name, node) for name in node.output if name)
    return makers


def discover(model: onnx.ModelProto) -> Layers:
    """Layers of a network that declares none, by the rule in this module's docstring.

    `model`: prepared. Raises Error for a graph without a single activation that has rows and columns.
    """
    walk = _Graph(model)
    found = walk.layers(walk.articulations())
    if len(found) < 3:
        found = walk.layers(range(len(walk.nodes)))
    if not found:
        raise Error("the network has no activation with rows and columns: no layer to take features from")
    stages = _stages(found, walk)
    names = {f"conv{s}_{i}": tensor for s, stage in enumerate(stages, 1) for i, tensor in enumerate(stage, 1)}
    by_tensor = {tensor: name for name, tensor in names.items()}
    also = {f"{by_tensor[tensor]}:linear": walk.makers[tensor].input[0] for tensor in found if walk.is_function(tensor)}
    also |= walk.pools(stages)
    style = tuple(by_tensor[tensor] for tensor in _style(stages, walk))
    content = by_tensor[_content(stages, walk)]
    return Layers(names, style, (content,), also, tuple(_data_tensors(model.graph)))


class _Graph:
    """The nodes that the deepest output depends on, in order, and what is known of their tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        every = _data_tensors(model.graph)
        self.source = pictures(model.graph)[0].name
        nodes, _ = needed(list(model.graph.node), [self._deepest(model.graph, every)])
        self.nodes = [node for node in nodes if node.output[0] in every]
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.weights = {tensor.name: tuple(tensor.dims) for tensor in constants(model.graph).values()}
        self.fields: dict[str, Field] = fields(model)
        self.activated: set[str] = set()
        for node in self.nodes:
            if self._is_activated(node):
                self.activated.update(node.output)

    @staticmethod
    def _deepest(graph: onnx.GraphProto, every: Mapping[str, onnx.NodeProto]) -> str:
        """The output behind the most nodes: auxiliary classifiers end before it."""
        depth: dict[str, int] = {}
        for name, node in every.items():
            depth[name] = 1 + max((depth.get(other, 0) for other in reads(node)), default=0)
        outputs = [str(value.name) for value in graph.output if value.name in depth]
        if not outputs:
            raise Error("the network's outputs do not depend on its picture")
        return max(outputs, key=lambda name: depth[name])

    def _is_activated(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ACTIVATIONS:
            return True
        inputs = [name for name in reads(node) if name in self.makers or name == self.source]
        if node.op_type == "Mul":  # x · σ(x), x · gate: one factor is enough
            return any(name in self.activated for name in inputs)
        joins = node.op_type in _JOINS or node.op_type in _PASS
        return joins and bool(inputs) and all(name in self.activated for name in inputs)

    def is_function(self, tensor: str) -> bool:
        """Whether an activation function makes the tensor."""
        return self.makers[tensor].op_type in ACTIVATIONS

    def articulations(self) -> list[int]:
        """Indices of the nodes that every path from the input to the output goes through.

        All other nodes lie before or behind such a node, so that in graph order no edge passes over it.
        """
        position = {name: index for index, node in enumerate(self.nodes) for name in node.output}
        position[self.source] = -1
        reach = list(range(len(self.nodes) + 1))  # reach[p + 1]: the last node that reads what node p makes
        for index, node in enumerate(self.nodes):
            for name in reads(node):
                if name in position:
                    reach[position[name] + 1] = index
        found, furthest = [], reach[0]
        for index in range(len(self.nodes)):
            if furthest <= index:
                found.append(index)
            furthest = max(furthest, reach[index + 1])
        return found

    def layers(self, indices: Iterable[int]) -> list[str]:
        """The layers among these nodes' outputs: rules 1 and 2."""
        found: list[tuple[int, str]] = []  # (weights so far, tensor)
        kept = set(indices)
        weighted = 0
        for index, node in enumerate(self.nodes):
            weighted += node.op_type in _WEIGHTED
            if index in kept and self._is_layer(node):
                if found and found[-1][0] == weighted and self.stride(found[-1][1]) == self.stride(node.output[0]):
                    found.pop()  # nothing was weighted since: this one stands for both
                found.append((weighted, node.output[0]))
        return [tensor for _, tensor in found if not self._is_bottleneck(tensor)]

    def _is_layer(self, node: onnx.NodeProto) -> bool:
        tensor = node.output[0]
        makes = node.op_type in ACTIVATIONS or node.op_type in _JOINS
        return makes and tensor in self.activated and self.fields[tensor].stride is not None

    def _is_bottleneck(self, tensor: str) -> bool:
        """Whether a 1×1 convolution to fewer channels made it, with nothing but pointwise ops in between."""
        node: onnx.NodeProto | None = self.makers[tensor]
        while node is not None and node.op_type != "Conv":
            inputs = [name for name in reads(node) if name in self.makers]
            node = self.makers[inputs[0]] if len(inputs) == 1 else None
        if node is None or len(shape := self.weights.get(node.input[1], ())) != 4:
            return False
        return shape[2:] == (1, 1) and shape[0] < shape[1] * int(attributes(node).get("group", 1))

    def stride(self, tensor: str) -> float:
        """The total stride; the larger one where rows and columns differ."""
        return max(self.fields[tensor].stride or (1.0, 1.0))

    def depths(self) -> dict[str, int]:
        """The convolutions in a row, at the tensor's own stride, that the longest path to it has."""
        found: dict[str, int] = {}
        for node in self.nodes:
            stride = self.fields[node.output[0]].stride
            before = [found[name] for name in reads(node) if name in found and self.fields[name].stride == stride]
            found.update((name, max(before, default=0) + (node.op_type == "Conv")) for name in node.output if name)
        return found

    def pools(self, stages: Sequence[Sequence[str]]) -> dict[str, str]:
        """pool<s>: the first pool with a stride after stage s, on the way of every path."""
        index = {node.output[0]: number for number, node in enumerate(self.nodes)}
        every = [self.nodes[number] for number in self.articulations() if self.nodes[number].op_type in _POOLS]
        pooled: dict[str, str] = {}
        for number, stage in enumerate(stages, 1):
            end = index[stages[number][0]] if number < len(stages) else len(self.nodes)
            between = [n.output[0] for n in every if index[stage[-1]] < index[n.output[0]] < end]
            smaller = [tensor for tensor in between if self.stride(tensor) > self.stride(stage[-1])]
            pooled |= {f"pool{number}": tensor for tensor in smaller[:1]}
        return pooled

    def classes(self, tensor: str) -> bool:
        """Whether it is the layer of the classes: averaged over the picture, and no weights follow."""
        index = next(i for i, node in enumerate(self.nodes) if tensor in node.output)
        behind = self.nodes[index + 1 :]
        ends = any(self.fields[name].stride is None for node in behind for name in node.output if name)
        return ends and not any(node.op_type in _WEIGHTED for node in behind)


def _stages(found: Sequence[str], walk: _Graph) -> list[list[str]]:
    """Runs of one stride."""
    stages: list[list[str]] = []
    for tensor in found:
        if stages and walk.stride(stages[-1][-1]) == walk.stride(tensor):
            stages[-1].append(tensor)
        else:
            stages.append([tensor])
    return stages


def _shrinking(stages: Sequence[list[str]], walk: _Graph) -> list[list[str]]:
    """The stages up to the coarsest, a decoder's left out, without the layer of the classes."""
    strides = [walk.stride(stage[0]) for stage in stages]
    encoder = stages[: int(np.argmax(strides)) + 1]
    usable = [[tensor for tensor in stage if not walk.classes(tensor)] for stage in encoder]
    return [stage for stage in usable if stage] or [list(stage) for stage in encoder]


def _style(stages: Sequence[list[str]], walk: _Graph) -> list[str]:
    """Rule 4."""
    usable = _shrinking(stages, walk)
    fine = [stage for stage in usable if walk.stride(stage[0]) <= STYLE_STRIDE] or usable[:1]
    each = 1
    if len(fine) < ENOUGH_STAGES:
        most = max(len(stage) for stage in fine)
        fitting = [n for n in range(1, most + 1) if sum(min(n, len(s)) for s in fine) <= MOST_STYLE_LAYERS]
        each = max(fitting, default=1)
    return [tensor for stage in fine for tensor in stage[:each]]


def _content(stages: Sequence[list[str]], walk: _Graph) -> str:
    """Rule 5."""
    usable = _shrinking(stages, walk)
    nearest = min(usable, key=lambda stage: abs(np.log2(walk.stride(stage[0]) / CONTENT_STRIDE)))
    depths = walk.depths()
    return next((tensor for tensor in nearest if depths[tensor] >= CONTENT_DEPTH), nearest[-1])
