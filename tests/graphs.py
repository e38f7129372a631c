"""Small networks for tests, a line a node."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Node = tuple[str, list[str], list[str], dict[str, Any]]


def node(op: str, inputs: str, outputs: str, **stated: Any) -> onnx.NodeProto:
    """`node("Add", "a b", "y")`; `-` is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"{op.lower()}_{outputs.split()[0]}", **stated)


def network(
    nodes: list[onnx.NodeProto],
    outputs: str,
    constants: dict[str, Any] | None = None,
    shape: tuple[int | str, ...] = (1, 3, 8, 8),
    opset: int = 18,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with the picture `x`. Float constants take the picture's type."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    held = []
    for name, value in (constants or {}).items():
        made = np.asarray(value)
        held.append(numpy_helper.from_array(made.astype(dtype) if made.dtype.kind == "f" else made, name))
    picture = helper.make_tensor_value_info("x", kind, shape)
    values = [helper.make_tensor_value_info(name, kind, None) for name in outputs.split()]
    graph = helper.make_graph(nodes, "test", [picture], values, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weights(*shape: int, seed: int = 0) -> Array:
    """Seeded normal weights that keep activations near 1."""
    fan = int(np.prod(shape[1:])) or 1
    return np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan)
