"""Nodes and constants in narrow numbers: what the graphs of a pair (precision.py) have in common."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .beside import in_graph, mapped
from .domain import DOMAIN, VERSION
from .errors import Error
from .graph import Array, attributes, dims, fresh, inferred, names, rebuild

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


class Narrow:
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
        self._said.append(info(self._types[name], output, self._kind))
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
                self._said.append(info(self._types[node.output[0]], name, self._kind))
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


def info(value: onnx.ValueInfoProto, name: str, kind: int) -> onnx.ValueInfoProto:
    made = onnx.ValueInfoProto()
    made.CopyFrom(value)
    made.name = name
    made.type.tensor_type.elem_type = kind
    return made
