"""A pair of graphs in narrow numbers: what is cast is in the graph, so that every provider computes the same.

The picture, its preprocessing, the features at the taps and the gradients on them stay float32; weights, activations
and the gradients between layers become bfloat16 or float16. With float16, whose largest number is 65504, the network is
run on a picture of SHRINK times its values: a network of convolutions, ReLUs and pools is homogeneous, its biases with
it,

    F(s x; W, s b) = s F(x; W, b),

so that features of 1e5 fit, and the taps are divided by s in float32. The gradients on the taps are scaled for each
picture, so that the largest is PEAK, and the gradient on the picture back: the way back is linear. ONNX Runtime's CUDA
provider has ops of ours for that (csrc/narrow), in bfloat16 too, which take one pass where ONNX's take several.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .backward import Derivative
from .errors import Error, one_of
from .graph import dims, fresh
from .narrow import Narrow, info

#: The type of each precision. tf32 is how a GPU multiplies float32, and nothing in the graph.
PRECISIONS: dict[str, int] = {
    "fp32": TensorProto.FLOAT,
    "tf32": TensorProto.FLOAT,
    "bf16": TensorProto.BFLOAT16,
    "fp16": TensorProto.FLOAT16,
}
SHRINK = 1 / 64
PEAK = 16.0
LEAST = 1e-30  # of a peak; csrc/narrow has the same
HEAD = ("Sub", "Add", "Mul", "Div", "Identity")  # what preprocessing is made of
#: Ops for which op(s x) = s op(x), with constants that are added scaled too.
HOMOGENEOUS = frozenset((
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "CudaAveragePool", "CudaBiasRelu", "CudaConvTranspose",
    "CudaMaxPool", "DepthToSpace", "Dropout", "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity",
    "LeakyRelu", "MatMul", "MaxPool", "Pad", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub",
    "Sum", "Transpose", "Unsqueeze",
))  # fmt: skip


def check(precision: str) -> str:
    """`precision`, or an Error with those there are."""
    if precision not in PRECISIONS:
        raise one_of("precision", str(precision), PRECISIONS)
    return precision


def narrowed(pair: Derivative, precision: str, ops: bool = False, native: bool = False) -> Derivative:
    """The pair in `precision`. `ops`: the provider has ours; `native`: it has all of ONNX's in bfloat16. Raises Error
    for fp16 where an op is not homogeneous."""
    kind = PRECISIONS[check(precision)]
    if kind == TensorProto.FLOAT:
        return pair
    read = {value.name for value in pair.backward.graph.input}
    forward = _Forward(pair.forward, kind, pair.taps, [tap for tap in pair.taps if tap in read], ops, native)
    backward = _Backward(pair.backward, kind, pair.taps, ops, native)
    saved = tuple(forward.narrow.get(name, name) for name in pair.saved)
    more = tuple(forward.narrow[tap] for tap in pair.taps if tap in read and tap not in pair.saved)
    return replace(pair, forward=forward.model(), backward=backward.model(), saved=(*saved, *more))


def narrowed_forward(model: onnx.ModelProto, precision: str, ops: bool = False) -> onnx.ModelProto:
    """A model that is run for its outputs alone."""
    kind = PRECISIONS[check(precision)]
    taps = [value.name for value in model.graph.output]
    return model if kind == TensorProto.FLOAT else _Forward(model, kind, taps, [], ops, False).model()


class _Forward(Narrow):
    """`also`: taps that backward reads, which get a narrow output beside. `narrow`: their names, and those of taps."""

    def __init__(
        self, model: onnx.ModelProto, kind: int, taps: Sequence[str], also: Sequence[str], ops: bool, native: bool
    ) -> None:
        super().__init__(model, kind, ops, native)
        self._taps, self._also = list(taps), list(also)
        self._scale = SHRINK if kind == TensorProto.FLOAT16 else 1.0
        self.narrow = {tap: f"{tap}:narrow" for tap in taps}
        self._taken |= set(self.narrow.values())

    def model(self) -> onnx.ModelProto:
        graph = self._model.graph
        self.renamed = dict(self.narrow)
        rest = self._head()
        for node in rest:
            self._rewritten(node, self._scales(node))
        for tap in self._taps:
            self._widened(tap)
        outputs = [
            info(
                value, value.name, value.type.tensor_type.elem_type if value.name in self._taps else self._stored(value)
            )
            for value in graph.output
        ]
        beside = [
            info(value, self.narrow[value.name], self._kind) for value in graph.output if value.name in self._also
        ]
        return self._rebuilt(graph.input, [*outputs, *beside])

    def _stored(self, value: onnx.ValueInfoProto) -> int:
        kind = int(value.type.tensor_type.elem_type)
        return self._kind if kind == TensorProto.FLOAT else kind

    def _head(self) -> list[onnx.NodeProto]:
        """The preprocessing in float32, scaled and cast; the other nodes are returned."""
        at, nodes = self._model.graph.input[0].name, list(self._model.graph.node)
        kept = {value.name for value in self._model.graph.output}  # for backward, which has it narrow
        while nodes and at not in kept and self._continues(nodes[0], at):
            self._keep(nodes[0].input)
            self._nodes.append(nodes[0])
            at = nodes.pop(0).output[0]
        wide, cast = at, fresh(f"{at}:cast", self._taken)
        if at in kept:
            last = onnx.NodeProto()
            last.CopyFrom(self._nodes.pop())
            wide, cast = fresh(f"{at}:wide", self._taken), at
            last.output[0] = wide
            self._nodes.append(last)
        if self._is_ours(at):
            self.renamed[at] = self._narrows(at, [wide], cast, self._scale)
            return nodes
        if self._scale != 1:
            wide = self._op("Mul", [wide, self._scalar("shrink", self._scale)], fresh(f"{at}:small", self._taken))
        self.renamed[at] = self._op("Cast", [wide], cast, to=self._kind)
        return nodes

    def _continues(self, node: onnx.NodeProto, at: str) -> bool:
        others = [name for name in node.input if name != at]
        users = [other for other in self._model.graph.node if at in other.input]
        plain = node.op_type in HEAD and at in node.input and len(users) == 1 and node.output[0] not in self._taps
        return plain and all(name in self._constants for name in others)

    def _scales(self, node: onnx.NodeProto) -> list[float]:
        """What each input is multiplied by, if it is a constant: what is added is scaled as the picture is."""
        if self._scale == 1:
            return [1.0] * len(node.input)
        if node.op_type not in HOMOGENEOUS:
            raise Error(
                f"precision fp16: the op {node.op_type} ({node.name!r}) depends on its input's scale, and the network "
                "cannot be scaled to fit; bf16, tf32 and fp32 are accepted"
            )
        added = {
            "Conv": (2,),
            "ConvTranspose": (2,),
            "CudaBiasRelu": (1,),
            "CudaConvTranspose": (2,),
            "Gemm": (2,),
            "Add": (0, 1),
            "Sub": (0, 1),
            "Sum": range(len(node.input)),
            "Pad": (2,),
        }
        return [self._scale if index in added.get(node.op_type, ()) else 1.0 for index in range(len(node.input))]

    def _widened(self, tap: str) -> None:
        if self._is_ours(tap):
            self._widens([self.narrow[tap]], tap, 1 / self._scale)
            return
        if self._scale == 1:
            self._op("Cast", [self.narrow[tap]], tap, to=TensorProto.FLOAT)
            return
        wide = self._op("Cast", [self.narrow[tap]], fresh(f"{tap}:wide", self._taken), to=TensorProto.FLOAT)
        self._op("Mul", [wide, self._scalar("grow", 1 / self._scale)], tap)


class _Backward(Narrow):
    def __init__(self, model: onnx.ModelProto, kind: int, taps: Sequence[str], ops: bool, native: bool) -> None:
        super().__init__(model, kind, ops, native)
        self._incoming = [f"gy:{tap}" for tap in taps]
        self._taps = set(taps)

    def model(self) -> onnx.ModelProto:
        graph = self._model.graph
        inputs = []
        for value in graph.input:
            if value.name in self._incoming:
                inputs.append(value)
            elif value.name in self._taps:
                self.renamed[value.name] = f"{value.name}:narrow"
                inputs.append(info(value, self.renamed[value.name], self._kind))
            else:
                kind = value.type.tensor_type.elem_type
                inputs.append(info(value, value.name, self._kind if kind == TensorProto.FLOAT else kind))
        scaled = self._kind == TensorProto.FLOAT16
        rank = {len(dims(v) or ()) for v in self._model.graph.input if v.name in self._incoming}
        if scaled and rank != {4}:
            raise Error("precision fp16: taps (N,C,h,w) are accepted, got one of another rank")
        peak = self._peak() if scaled and self._ops else []
        factor = self._factor() if scaled and not self._ops else ""
        scale = PEAK if scaled else 1.0
        for name in self._incoming:
            cast = fresh(f"{name}:cast", self._taken)
            if self._is_ours(name):
                self.renamed[name] = self._narrows(name, [name, *peak], cast, scale)
                continue
            part = self._op("Mul", [name, factor], fresh(f"{name}:scaled", self._taken)) if factor else name
            self.renamed[name] = self._op("Cast", [part], cast, to=self._kind)
        gradient = graph.output[0].name
        self.renamed[gradient] = fresh(f"{gradient}:narrow", self._taken)
        for node in graph.node:
            self._rewritten(node, [1.0] * len(node.input))
        if self._is_ours(gradient):
            self._widens([self.renamed[gradient], *peak], gradient, 1 / scale)
        elif not factor:
            self._op("Cast", [self.renamed[gradient]], gradient, to=TensorProto.FLOAT)
        else:
            wide = self._op("Cast", [self.renamed[gradient]], fresh("gx:wide", self._taken), to=TensorProto.FLOAT)
            self._op("Div", [wide, factor], gradient)
        return self._rebuilt(inputs, graph.output)

    def _factor(self) -> str:
        """PEAK over the largest gradient at any tap, for each picture: (N,1,1,1)."""
        largest = self._op("Max", [*self._highest(), self._scalar("least", LEAST)], fresh("largest", self._taken))
        return self._op("Div", [self._scalar("peak", PEAK), largest], fresh("factor", self._taken))

    def _highest(self) -> list[str]:
        """The largest of each tap's."""
        axes = fresh("axes", self._taken)
        self._made[axes] = numpy_helper.from_array(np.array([1, 2, 3], np.int64), axes)
        sizes = [self._op("Abs", [name], fresh(f"{name}:size", self._taken)) for name in self._incoming]
        return [self._op("ReduceMax", [size, axes], fresh(f"{size}:max", self._taken), keepdims=1) for size in sizes]

    def _peak(self) -> list[str]:
        """The largest gradient at any tap, for each picture (N,1,1,1), found from tap to tap."""
        found: list[str] = []
        for name in self._incoming:
            found = [self._ours("CudaPeak", [name, *found], fresh(f"{name}:peak", self._taken))]
            batch = (dims(self._types[name]) or (None,))[0]
            self._said.append(helper.make_tensor_value_info(found[0], TensorProto.FLOAT, [batch, 1, 1, 1]))
        return found
