"""Ops as the sub-graphs that ONNX defines them by: GroupNormalization, Gelu of later opsets, and their like."""

from collections.abc import Callable
from typing import Any

import onnx
from onnx import defs, inliner

from .errors import Error
from .graph import OPSET, light, one_line, replace, with_weights


def expand(model: onnx.ModelProto, version: int, wanted: Callable[[str], bool]) -> onnx.ModelProto:
    """The model with every op that is `wanted` and has a definition in `version` replaced by that definition.

    Returns `model` itself if there is none.
    """
    ops = sorted({node.op_type for node in model.graph.node if not node.domain and wanted(node.op_type)})
    ops = [op for op in ops if _defined(op, version)]
    if not ops:
        return model
    thin = light(model)
    thin.graph.value_info.extend(  # the definitions depend on types, which are not looked for among initialisers
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in thin.graph.initializer
    )
    _state_defaults(thin, ops, version)
    try:
        made = inliner.inline_selected_functions(thin, [("", op) for op in ops], inline_schema_functions=True)
    except Exception as problem:
        raise Error(f"{', '.join(ops)} cannot be replaced by what defines them: {one_line(problem)}") from None
    replace(made.graph.value_info, [])
    return with_weights(made, model)


def _state_defaults(model: onnx.ModelProto, ops: list[str], version: int) -> None:
    """States the attributes that nodes leave to their defaults: definitions refer to them, inlining forgets them."""
    for node in model.graph.node:
        if node.op_type not in ops or node.domain:
            continue
        stated = {attribute.name for attribute in node.attribute}
        for name, attribute in defs.get_schema(node.op_type, version, "").attributes.items():
            if name not in stated and attribute.default_value.name:
                node.attribute.append(attribute.default_value)


def newer(op: str, version: int) -> bool:
    """Whether an op of `version` came after the opset that we use, or is not to be used in it."""
    if op == "GroupNormalization":  # deprecated in 18, where it scales groups; from 21 on it scales channels
        return version >= 18
    try:
        defs.get_schema(op, OPSET, "")
    except defs.SchemaError:
        return True
    return False


def _defined(op: str, version: int) -> bool:
    try:
        schema: Any = defs.get_schema(op, version, "")
    except defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)
