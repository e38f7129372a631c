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
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .backward import Derivative
from .beside import in_graph, mapped
from .domain import DOMAIN, VERSION
from .errors import Error, one_of
from .graph import Array, attributes, dims, fresh, inferred, names, rebuild

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
#: Ops that ONNX (opset 22) and ONNX Runtime's CUDA both have for bfloat16; the others work on float32 between Casts.
BF16 = frozenset((
    "Add", "Cast", "Concat", "ConstantOfShape", "Conv", "CudaAveragePool", "CudaAveragePoolGradient", "CudaBiasRelu",
    "CudaConvTranspose", "CudaMaxPool", "CudaMaxPoolGradient", "CudaReluGradient", "Div", "Flatten", "Gemm", "Identity",
    "MatMul", "Mul", "Relu", "Reshape", "ScatterElements", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
))  # fmt: skip
#: Our casts by the narrow type.
NARROW: dict[int, str] = {TensorProto.FLOAT16: "CudaNarrow", TensorProto.BFLOAT16: "CudaNarrowBFloat16"}
WIDEN: dict[int, str] = {TensorProto.FLOAT16: "CudaWiden", TensorProto.BFLOAT16: "CudaWidenBFloat16"}
BF16_OPSET = 22  # the first whose Conv takes bfloat16


def check(precision: str) -> str:
    """`precision`, or an Error with those there are."""
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)
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


class _Narrow:
    """Nodes with other names in places, float32 constants made narrow, Casts at the borders."""

    def __init__(self, model: onnx.ModelProto, kind: int, ops: bool, native: bool) -> None:
        self._model, self._kind = model, kind
        self._lacking = kind == TensorProto.BFLOAT16 and not native
        self._ops = ops
        self._said: list[onnx.ValueInfoProto] = []  # of what our ops make, which ONNX cannot infer
        self._taken = names(model.graph)
        self._nodes: list[onnx.NodeProto] = []
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made: dict[str, onnx.TensorProto] = {}
        self.renamed: dict[str, str] = {}
        self._types = inferred(model)
        kinds = {name: value.type.tensor_type.elem_type for name, value in self._types.items()}
        self._floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}

    def _op(self, op: str, inputs: Sequence[str], output: str, **stated: Any) -> str:
        self._nodes.append(helper.make_node(op, list(inputs), [output], **stated))
        return output

    def _ours(self, op: str, inputs: Sequence[str], output: str, **stated: Any) -> str:
        self._nodes.append(helper.make_node(op, list(inputs), [output], domain=DOMAIN, **stated))
        return output

    def _narrows(self, name: str, inputs: Sequence[str], output: str, scale: float) -> str:
        """`output`, a picture `name` in the narrow type, by our op."""
        self._said.append(_info(self._types[name], output, self._kind))
        return self._ours(NARROW[self._kind], inputs, output, scale=scale, channels_last=0)

    def _widens(self, inputs: Sequence[str], output: str, scale: float) -> str:
        return self._ours(WIDEN[self._kind], inputs, output, scale=scale, channels_last=0)

    def _is_ours(self, name: str) -> bool:
        """Whether our casts are for it: for pictures."""
        return self._ops and name in self._types and len(dims(self._types[name]) or ()) == 4

    def _scalar(self, wanted: str, value: float) -> str:
        name = fresh(wanted, self._taken)
        self._made[name] = numpy_helper.from_array(np.array(value, np.float32), name)
        return name

    def _constant(self, name: str, scale: float = 1.0) -> str:
        """A constant in the narrow type, times `scale`; others than float32 as they are."""
        tensor = self._constants[name]
        if tensor.data_type != TensorProto.FLOAT:
            self._made[name] = tensor
            return name
        key = f"{name}:narrow" if scale == 1 else f"{name}:scaled"
        if key not in self._made:
            work = partial(_narrow, scale=scale, kind=self._kind, name=key)
            self._made[key] = mapped(tensor, work, (self._kind, scale), self._kind, key)
        return key

    def _keep(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._constants:
                self._made[name] = self._constants[name]

    def _rewritten(self, node: onnx.NodeProto, scales: Sequence[float]) -> None:
        inputs = [
            self._constant(name, scale) if name in self._constants else self.renamed.get(name, name)
            for name, scale in zip(node.input, scales, strict=True)
        ]
        stated = attributes(node)
        if node.op_type == "ConstantOfShape" and stated["value"].data_type == TensorProto.FLOAT:
            stated["value"] = narrow_tensor(numpy_helper.to_array(stated["value"]), self._kind, "value")
        if node.op_type == "Cast" and stated["to"] == TensorProto.FLOAT:
            stated["to"] = self._kind
        outputs = [self.renamed.get(name, name) for name in node.output]
        if self._lacking and node.op_type not in BF16:
            if not self._in_other_words(node, inputs, outputs, stated):
                self._between_casts(node, inputs, outputs, stated)
            return
        self._nodes.append(helper.make_node(node.op_type, inputs, outputs, node.name, domain=node.domain, **stated))

    def _in_other_words(
        self, node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str], stated: dict[str, Any]
    ) -> bool:
        """Whether ops that have bfloat16 could say the same: Add a Sum, and Slice a Split."""
        if node.op_type == "Sum" and len(inputs) > 1:
            sums = [*(fresh(f"{outputs[0]}:sum", self._taken) for _ in inputs[2:]), outputs[0]]
            for one, other, total in zip([inputs[0], *sums], inputs[1:], sums, strict=False):
                self._op("Add", [one, other], total)
            return True
        axis = stated.get("axis", 0)
        parts = [(dims(self._types[name]) or ()) if name in self._types else () for name in node.output]
        if node.op_type != "Split" or not all(len(part) > axis >= 0 and part[axis] for part in parts):
            return False
        start, along = 0, self._integer(axis)
        for part, output in zip(parts, outputs, strict=True):
            end = start + int(part[axis] or 0)
            self._op("Slice", [inputs[0], self._integer(start), self._integer(end), along], output)
            start = end
        return True

    def _integer(self, value: int) -> str:
        name = f"integer:{value}"
        self._made[name] = numpy_helper.from_array(np.array([value], np.int64), name)
        return name

    def _between_casts(
        self, node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str], stated: dict[str, Any]
    ) -> None:
        """A node without bfloat16, in float32."""
        wide = [
            self._op("Cast", [given], fresh(f"{given}:wide", self._taken), to=TensorProto.FLOAT)
            if name in self._floats
            else given
            for name, given in zip(node.input, inputs, strict=True)
        ]
        made = [fresh(f"{given}:made", self._taken) if name in self._floats else given
                for name, given in zip(node.output, outputs, strict=True)]  # fmt: skip
        self._nodes.append(helper.make_node(node.op_type, wide, made, node.name, **stated))
        for name, given, narrow in zip(node.output, made, outputs, strict=True):
            if name in self._floats:
                self._op("Cast", [given], narrow, to=self._kind)

    def _rebuilt(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, self._model.graph.name, list(inputs), list(outputs), list(self._made.values())
        )
        said = {value.name for value in outputs}
        self._said = [value for value in self._said if value.name not in said]
        for node in self._model.graph.node:
            name = self.renamed.get(node.output[0], node.output[0])
            if node.domain == DOMAIN and name not in said:
                self._said.append(_info(self._types[node.output[0]], name, self._kind))
        graph.value_info.extend(self._said)
        made = rebuild(self._model, graph)
        if self._kind == TensorProto.BFLOAT16:
            for opset in made.opset_import:
                opset.version = BF16_OPSET if opset.domain == "" else opset.version
            made.ir_version = max(made.ir_version, 10)
        if self._ops and DOMAIN not in {opset.domain for opset in made.opset_import}:
            made.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        return made


def narrow_tensor(values: Any, kind: int, name: str) -> onnx.TensorProto:
    """float32 values as a tensor of float16 or bfloat16. Raises Error for those that float16 cannot hold."""
    return in_graph(_narrow(values, 1.0, kind, name), kind, name)


def _narrow(values: Array, scale: float, kind: int, name: str) -> Array:
    """float32 values times `scale` in float16, or the bits of bfloat16."""
    values = values * np.float32(scale) if scale != 1 else values
    if kind == TensorProto.FLOAT16:
        with np.errstate(over="ignore"):  # what follows says it better
            narrow = values.astype(np.float16)
        if not np.isfinite(narrow).all() and not np.isfinite(narrow[np.isfinite(values)]).all():
            raise Error(f"precision fp16: {name!r} has numbers beyond 65504; bf16, tf32 and fp32 are accepted")
        return narrow
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF  # to nearest even
    rounded += bits
    rounded >>= 16
    return rounded.astype("<u2")


def _info(value: onnx.ValueInfoProto, name: str, kind: int) -> onnx.ValueInfoProto:
    made = onnx.ValueInfoProto()
    made.CopyFrom(value)
    made.name = name
    made.type.tensor_type.elem_type = kind
    return made


class _Forward(_Narrow):
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
            _info(
                value, value.name, value.type.tensor_type.elem_type if value.name in self._taps else self._stored(value)
            )
            for value in graph.output
        ]
        beside = [
            _info(value, self.narrow[value.name], self._kind) for value in graph.output if value.name in self._also
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


class _Backward(_Narrow):
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
                inputs.append(_info(value, self.renamed[value.name], self._kind))
            else:
                kind = value.type.tensor_type.elem_type
                inputs.append(_info(value, value.name, self._kind if kind == TensorProto.FLOAT else kind))
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
