"""A pair of graphs for a GPU whose convolutions want a picture's channels last (N,H,W,C), as tensor cores do.

The graphs stay ONNX, whose convolutions are (N,C,H,W). With `convs` they become CudaConv, our op, which takes up the
bias and the ReLU behind it (CudaConvTranspose gpu.py has put there before); without, ONNX Runtime's CUDA provider
(`prefer_nhwc`, not for bfloat16) puts Transposes around each. What it cannot know is done here: what forward keeps for
backward lies with its channels last, and so does what our own ops read and make. A tensor that is turned and turned
back is not turned at all, and what works on each number by itself, or along the channels, does so wherever these are.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .backward import Derivative
from .beside import rearranged
from .domain import DOMAIN, VERSION
from .graph import array, attributes, constants, dims, fresh, inferred, names, needed, reads, rebuild
from .narrow import NARROW, WIDEN

CONV, BIAS_RELU = "CudaConv", "CudaBiasRelu"
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
#: What works on each number of pictures of one shape.
EACH = frozenset((
    "Abs", "Add", "Cast", "Clip", "Div", "Elu", "Exp", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max",
    "Min", "Mul", "Neg", "Pow", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh",
))  # fmt: skip
# What reads or makes pictures with their channels first: casts, which turn them.
FROM_FIRST, TO_FIRST = {*NARROW.values(), "CudaPeak"}, {*WIDEN.values(), "CudaPeak"}


def channels_last(pair: Derivative, convs: bool) -> Derivative:
    """The pair with channels last within; the picture, the taps and their gradients as before."""
    types = {value.name: value for value in pair.forward.graph.output}
    kept = [name for name in pair.saved if len(dims(types[name]) or ()) == 4]
    # A tap goes to the losses as it is; backward has it from an output of its own.
    own = {name: f"{name}:kept" if name in pair.taps else name for name in kept}
    forward, backward = _Last(pair.forward, convs), _Last(pair.backward, convs)
    saved = tuple(own.get(name, name) for name in pair.saved)
    return replace(pair, forward=forward.keeping(own), backward=backward.reading(own), saved=saved)


class _Last:
    def __init__(self, model: onnx.ModelProto, convs: bool) -> None:
        self._model, self._types = model, inferred(model)
        self._taken = names(model.graph)
        self._constants = constants(model.graph)
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[tuple[str, str], str] = {}  # constants of ours, by what they are made of, and how
        self._turns: dict[str, str] = {}  # of a tensor with its channels first: the same with them last
        self._convs = {node.output[0]: node for node in model.graph.node if convs and self._is_ours(node)}
        outputs = [value.name for value in model.graph.output]
        self._uses = Counter([*outputs, *(name for node in model.graph.node for name in reads(node))])
        self._taken_up = {node.input[0] for node in model.graph.node if self._takes_up(node)}

    def keeping(self, own: Mapping[str, str]) -> onnx.ModelProto:
        """The outputs of these names, or others beside them, with their channels last."""
        first = {name: fresh(f"{name}:first", self._taken) for name, made in own.items() if name == made}
        for node in self._model.graph.node:
            self._node(node, first)
        renamed = {self._last(first.get(name, name)): made for name, made in own.items()}
        for node in self._nodes:
            for field in (node.input, node.output):
                field[:] = [renamed.get(name, name) for name in field]
        types = {value.name: value for value in self._model.graph.output}
        outputs = [value for value in self._model.graph.output if value.name not in first]
        return self._rebuilt(
            list(self._model.graph.input), [*outputs, *(info_last(types[name], own[name]) for name in own)]
        )

    def reading(self, own: Mapping[str, str]) -> onnx.ModelProto:
        """The inputs of these names, or others in their place, with their channels last."""
        first = {name: fresh(f"{name}:first", self._taken) for name in own}
        for name, given in own.items():
            self._first(given, first[name])
        for node in self._model.graph.node:
            self._node(node, first)
        values = self._model.graph.input
        inputs = [info_last(value, own[value.name]) if value.name in own else value for value in values]
        return self._rebuilt(inputs, list(self._model.graph.output))

    def _rebuilt(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        nodes, read = needed(self._nodes, [value.name for value in outputs])
        kept = [tensor for name, tensor in self._constants.items() if name in read]
        made = rebuild(self._model, helper.make_graph(nodes, self._model.graph.name, inputs, outputs, kept))
        if any(node.domain == DOMAIN for node in nodes) and DOMAIN not in {one.domain for one in made.opset_import}:
            made.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        return made

    def _node(self, node: onnx.NodeProto, first: Mapping[str, str]) -> None:
        if node.output[0] in self._convs:
            if node.output[0] not in self._taken_up:
                self._conv(node, node.output[0], list(node.input[2:]), 0, first)
            return
        if self._takes_up(node):
            self._conv(self._convs[node.input[0]], node.output[0], [node.input[1]], 1, first)
            return
        inputs = [first.get(name, name) for name in node.input]
        outputs = [first.get(name, name) for name in node.output]
        shape = dims(self._types[node.output[0]]) if node.output[0] in self._types else None
        stated = attributes(node)
        if node.domain != DOMAIN or shape is None or len(shape) != 4:
            if not self._anywhere(node, inputs, outputs, stated):
                made = helper.make_node(node.op_type, inputs, outputs, node.name, domain=node.domain, **stated)
                self._nodes.append(made)
            return
        stated |= {"channels_last": 1} if "channels_last" in stated else {}
        turned = () if node.op_type in FROM_FIRST else node.input[:1] if node.op_type in TO_FIRST else node.input
        inputs = [self._read(read, name) if read in turned else name
                  for name, read in zip(inputs, node.input, strict=True)]  # fmt: skip
        self._ours(node.op_type, inputs, outputs[0], node.op_type in TO_FIRST, node.name, stated)

    def _anywhere(
        self, node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str], stated: dict[str, Any]
    ) -> bool:
        """Whether the node has been put where the channels come last, as one of its inputs has them."""
        if node.domain or not all(self._is_picture(name) for name in node.output):
            return False
        if not any(name in self._turns for name in inputs):
            return False
        read: list[str] | None = None
        if node.op_type in EACH:
            shape = dims(self._types[node.output[0]])
            operands = [self._operand(name, given, shape) for name, given in zip(node.input, inputs, strict=True)]
            read = [name for name in operands if name is not None]
            read = read if len(read) == len(inputs) else None
        elif node.op_type in ("Concat", "Split") and stated.get("axis", 0) == 1:
            pictures = [self._last(name) if self._is_picture(of) else name
                        for of, name in zip(node.input, inputs, strict=True)]  # fmt: skip
            read, stated = pictures, {**stated, "axis": 3}
        elif node.op_type == "Slice" and len(inputs) == 4 and self._is_along_channels(inputs[3]):
            read = [self._last(inputs[0]), *inputs[1:3], self._along_channels()]
        if read is None:
            return False
        made = [fresh(f"{name}:last", self._taken) for name in outputs]
        self._nodes.append(helper.make_node(node.op_type, read, made, node.name, **stated))
        for name, output in zip(made, outputs, strict=True):
            self._first(name, output)
        return True

    def _operand(self, name: str, given: str, shape: tuple[Any, ...] | None) -> str | None:
        """An input of what works on each number, for pictures of `shape` with their channels last."""
        tensor = self._constants.get(name)
        if not name:
            return name
        if tensor is None:
            return self._last(given) if self._is_picture(name) and dims(self._types[name]) == shape else None
        sizes = list(tensor.dims)
        if math.prod(sizes) == 1:
            return name
        channels = len(sizes) >= 3 and math.prod(sizes) == sizes[-3]
        return self._arranged(name, "row", np.ravel) if channels else None

    def _is_along_channels(self, axes: str) -> bool:
        return axes in self._constants and array(self._constants[axes]).ravel().tolist() == [1]

    def _arranged(self, name: str, form: str, how: Callable[[Any], Any]) -> str:
        """A constant with its numbers in another form, made once."""
        if (name, form) not in self._made:
            made = self._made[name, form] = fresh(f"{name}:{form}", self._taken)
            self._constants[made] = rearranged(self._constants[name], how, made)
        return self._made[name, form]

    def _along_channels(self) -> str:
        """The number of the last axis."""
        if ("", "axis") not in self._made:
            made = self._made["", "axis"] = fresh("channels", self._taken)
            self._constants[made] = numpy_helper.from_array(np.array([3], np.int64), made)
        return self._made["", "axis"]

    def _read(self, name: str, given: str) -> str:
        """An input of an op of ours."""
        if not self._is_picture(name):
            return given
        return self._weights(name) if name in self._constants else self._last(given)

    def _ours(
        self, op: str, inputs: Sequence[str], output: str, to_first: bool, name: str, stated: Mapping[str, Any]
    ) -> None:
        made = output if to_first else fresh(f"{output}:last", self._taken)
        self._nodes.append(helper.make_node(op, inputs, [made], name, domain=DOMAIN, **stated))
        if not to_first:
            self._first(made, output)

    def _conv(
        self, node: onnx.NodeProto, output: str, bias: Sequence[str], relu: int, first: Mapping[str, str]
    ) -> None:
        stated = attributes(node)
        words = {
            "pads": stated.get("pads", [0] * 4)[:2],
            "strides": stated.get("strides", [1, 1]),
            "dilations": stated.get("dilations", [1, 1]),
            "relu": relu,
        }
        read = [self._last(first.get(node.input[0], node.input[0])), self._weights(node.input[1]), *bias]
        self._ours(CONV, read, first.get(output, output), False, node.name, words)

    def _is_ours(self, node: onnx.NodeProto) -> bool:
        """Whether CudaConv can take its place."""
        weights = self._constants.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is None or len(weights.dims) != 4:
            return False
        stated = attributes(node)
        pads = list(stated.get("pads", [0] * 4))
        return stated.get("auto_pad", "NOTSET") == "NOTSET" and pads[:2] == pads[2:]

    def _takes_up(self, node: onnx.NodeProto) -> bool:
        """Whether it is the bias and the ReLU of a convolution that nobody else reads."""
        conv = self._convs.get(node.input[0]) if node.op_type == BIAS_RELU else None
        return conv is not None and len(conv.input) == 2 and self._uses[node.input[0]] == 1

    def _weights(self, name: str) -> str:
        """(K,C,R,S) -> (K,R,S,C)."""
        return self._arranged(name, "last", partial(np.transpose, axes=LAST))

    def _is_picture(self, name: str) -> bool:
        return name in self._types and len(dims(self._types[name]) or ()) == 4

    def _last(self, name: str) -> str:
        if name not in self._turns:
            self._turns[name] = fresh(f"{name}:last", self._taken)
            self._nodes.append(_turned(name, self._turns[name], LAST))
        return self._turns[name]

    def _first(self, name: str, made: str) -> None:
        """`made`, with its channels first, from `name`."""
        self._turns[made] = name
        self._nodes.append(_turned(name, made, FIRST))


def info_last(value: onnx.ValueInfoProto, name: str, kind: int = 0) -> onnx.ValueInfoProto:
    """`value` under another name with its channels last, of type `kind` if one is given."""
    sizes = dims(value) or ()
    return helper.make_tensor_value_info(name, kind or value.type.tensor_type.elem_type, [sizes[at] for at in LAST])


def _turned(name: str, made: str, order: tuple[int, ...]) -> onnx.NodeProto:
    return helper.make_node("Transpose", [name], [made], perm=order)
