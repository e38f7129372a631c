"""Taps and the gradients on them as they lie within a GPU's pair of graphs: channels last, and narrow.

Between the convolutions of channels_last.py and the losses each tap is turned and widened, and each gradient on it
narrowed and turned back. Kernels that read and write what is in between save both passes over memory. A gradient stays
float32 where its cast needs the largest of all (float16).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, helper

from .backward import Derivative
from .channels_last import FIRST, LAST, info_last
from .graph import attributes, needed, reads, rebuild
from .narrow import NARROW, WIDEN


@dataclass(frozen=True)
class Tap:
    """Where features are: the output (N,h,w,C) of forward that has them; a 1 in it stands for `unit`."""

    output: str
    unit: float


def taps_last(pair: Derivative) -> tuple[Derivative, dict[str, Tap]]:
    """The pair without casts and Transposes at the taps, and where each of these is now; those that are not listed are
    as before. `gy:<tap>` of these is (N,h,w,C) too, bfloat16 where the features are and else float32."""
    ends = {node.output[0]: node for node in pair.forward.graph.node}
    found: dict[str, tuple[onnx.NodeProto, onnx.NodeProto]] = {}
    read = {value.name for value in pair.backward.graph.input}
    for tap in pair.taps:
        last, first = ends.get(tap), _only_reader(pair.backward, f"gy:{tap}")
        if tap not in read and last is not None and first is not None and _fit(last, first):
            found[tap] = last, first
    taps = {tap: Tap(last.input[0], attributes(last).get("scale", 1.0)) for tap, (last, _) in found.items()}
    forward = _forward(pair.forward, {tap: last for tap, (last, _) in found.items()})
    backward = _backward(pair.backward, {f"gy:{tap}": first for tap, (_, first) in found.items()})
    return replace(pair, forward=forward, backward=backward), taps


def _only_reader(model: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    """The one node that reads it, those beside that look for the largest number."""
    readers = [node for node in model.graph.node if name in reads(node) and node.op_type != "CudaPeak"]
    return readers[0] if len(readers) == 1 else None


def _fit(last: onnx.NodeProto, first: onnx.NodeProto) -> bool:
    """Whether both only cast and turn."""
    turned, back = attributes(last), attributes(first)
    if last.op_type == first.op_type == "Transpose":
        return (tuple(turned["perm"]), tuple(back["perm"])) == (FIRST, LAST)
    kinds = [kind for kind in WIDEN if (WIDEN[kind], NARROW[kind]) == (last.op_type, first.op_type)]
    if not kinds or not (turned["channels_last"] and back["channels_last"]) or len(last.input) > 1:
        return False
    return kinds[0] != TensorProto.BFLOAT16 or (len(first.input) == 1 and back["scale"] == turned["scale"] == 1)


def _forward(model: onnx.ModelProto, lasts: dict[str, onnx.NodeProto]) -> onnx.ModelProto:
    types = {value.name: value for value in model.graph.output}
    outputs = {value.name: value for value in model.graph.output if value.name not in lasts}
    for tap, last in lasts.items():
        kind = next((kind for kind, op in WIDEN.items() if op == last.op_type), TensorProto.FLOAT)
        outputs.setdefault(last.input[0], info_last(types[tap], last.input[0], kind))
    nodes, _ = needed(model.graph.node, list(outputs))
    return _rebuilt(model, nodes, list(model.graph.input), list(outputs.values()))


def _backward(model: onnx.ModelProto, firsts: dict[str, onnx.NodeProto]) -> onnx.ModelProto:
    renamed, casts, kinds = {}, set(), {}
    for name, first in firsts.items():
        scaled = first.op_type == NARROW[TensorProto.FLOAT16]
        kinds[name] = TensorProto.BFLOAT16 if first.op_type == NARROW[TensorProto.BFLOAT16] else TensorProto.FLOAT
        if scaled:
            casts.add(first.output[0])
        else:
            renamed[first.output[0]] = name
    nodes = list(_renamed(model.graph.node, renamed, casts))
    inputs = [info_last(value, value.name, kinds[value.name]) if value.name in kinds else value
              for value in model.graph.input]  # fmt: skip
    return _rebuilt(model, nodes, inputs, list(model.graph.output))


def _renamed(nodes: Sequence[onnx.NodeProto], renamed: dict[str, str], casts: set[str]) -> Iterator[onnx.NodeProto]:
    """The nodes that are left, reading other names; those of `casts` do not turn any more."""
    for node in nodes:
        if node.output[0] in renamed:
            continue
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[:] = [renamed.get(name, name) for name in node.input]
        if node.output[0] in casts:
            (last,) = (stated for stated in made.attribute if stated.name == "channels_last")
            last.i = 0
        yield made


def _rebuilt(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    graph = model.graph
    return rebuild(model, helper.make_graph(nodes, graph.name, inputs, outputs, graph.initializer))
