"""A pair of graphs for a GPU whose convolutions want a picture's channels last (N,H,W,C), as tensor cores do.

The graphs stay ONNX, whose convolutions are (N,C,H,W): ONNX Runtime's CUDA provider (`prefer_nhwc`) puts Transposes
around each, and takes two away where they meet. What it cannot know is done here: what forward keeps for backward lies
with its channels last, and so does what our own ops read and make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import helper

from .backward import Derivative
from .domain import DOMAIN
from .graph import attributes, dims, fresh, inferred, names, rebuild

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
FROM_FIRST, TO_FIRST = ("CudaNarrow", "CudaPeak"), ("CudaWiden", "CudaPeak")  # which turn what they cast, or do not


def channels_last(pair: Derivative) -> Derivative:
    """The pair with Transposes where ONNX Runtime's would stay; the picture, the taps and their gradients as before."""
    types = {value.name: value for value in pair.forward.graph.output}
    kept = [name for name in pair.saved if len(dims(types[name]) or ()) == 4]
    # A tap goes to the losses as it is; backward has it from an output of its own.
    own = {name: f"{name}:kept" if name in pair.taps else name for name in kept}
    forward, backward = _Last(pair.forward), _Last(pair.backward)
    saved = tuple(own.get(name, name) for name in pair.saved)
    return replace(pair, forward=forward.keeping(own), backward=backward.reading(own), saved=saved)


class _Last:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model, self._types = model, inferred(model)
        self._taken = names(model.graph)
        self._nodes: list[onnx.NodeProto] = []

    def keeping(self, own: Mapping[str, str]) -> onnx.ModelProto:
        """The outputs of these names, or others beside them, with their channels last."""
        first = {name: fresh(f"{name}:first", self._taken) for name, made in own.items() if name == made}
        for node in self._model.graph.node:
            self._node(node, first)
        for name, made in own.items():
            self._nodes.append(_turned(first.get(name, name), made, LAST))
        outputs = [value for value in self._model.graph.output if value.name not in first]
        types = {value.name: value for value in self._model.graph.output}
        return self._rebuilt(
            list(self._model.graph.input), [*outputs, *(_last(types[name], own[name]) for name in own)]
        )

    def reading(self, own: Mapping[str, str]) -> onnx.ModelProto:
        """The inputs of these names, or others in their place, with their channels last."""
        first = {name: fresh(f"{name}:first", self._taken) for name in own}
        for name, given in own.items():
            self._nodes.append(_turned(given, first[name], FIRST))
        for node in self._model.graph.node:
            self._node(node, first)
        inputs = [_last(value, own[value.name]) if value.name in own else value for value in self._model.graph.input]
        return self._rebuilt(inputs, list(self._model.graph.output))

    def _rebuilt(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = self._model.graph
        return rebuild(self._model, helper.make_graph(self._nodes, graph.name, inputs, outputs, graph.initializer))

    def _node(self, node: onnx.NodeProto, first: Mapping[str, str]) -> None:
        inputs = [first.get(name, name) for name in node.input]
        outputs = [first.get(name, name) for name in node.output]
        shape = dims(self._types[node.output[0]]) if node.output[0] in self._types else None
        stated = attributes(node)
        if node.domain != DOMAIN or shape is None or len(shape) != 4:
            self._nodes.append(helper.make_node(node.op_type, inputs, outputs, node.name, domain=node.domain, **stated))
            return
        stated |= {"channels_last": 1} if "channels_last" in stated else {}
        if node.op_type not in FROM_FIRST:
            inputs = [self._last(name) if self._is_picture(read) else name
                      for name, read in zip(inputs, node.input, strict=True)]  # fmt: skip
        made = outputs[0] if node.op_type in TO_FIRST else fresh(f"{outputs[0]}:last", self._taken)
        self._nodes.append(helper.make_node(node.op_type, inputs, [made], node.name, domain=DOMAIN, **stated))
        if made != outputs[0]:
            self._nodes.append(_turned(made, outputs[0], FIRST))

    def _is_picture(self, name: str) -> bool:
        return name in self._types and len(dims(self._types[name]) or ()) == 4

    def _last(self, name: str) -> str:
        made = fresh(f"{name}:last", self._taken)
        self._nodes.append(_turned(name, made, LAST))
        return made


def _last(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    sizes = dims(value) or ()
    return helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, [sizes[at] for at in LAST])


def _turned(name: str, made: str, order: tuple[int, ...]) -> onnx.NodeProto:
    return helper.make_node("Transpose", [name], [made], perm=order)
