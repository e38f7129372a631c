"""One op in ONNX Runtime's CUDA provider: for tests beside."""

import numpy as np
import torch
from onnx import TensorProto, helper
from stylogram.devices import sessions
from stylogram.devices.graphs import Place

STORED = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def numbers(shape, seed, dtype):
    values = np.round(np.random.default_rng(seed).standard_normal(shape) * 4) / 4  # ties
    return values.astype(dtype)


def run_op(queue, op, arrays, shape, kind, **words):
    """The op's output for arrays of the host, in the CUDA provider."""
    node = helper.make_node(op, [f"x{i}" for i in range(len(arrays))], ["y"], domain="stylogram", **words)
    return run_node(queue, node, arrays, shape, kind)


def run_node(queue, node, arrays, shape, kind):
    """The output y of a node that reads x0, x1, ..."""
    session, made = bound(queue, node, arrays, shape, kind)
    session.run()
    return made.download()


def bound(queue, node, arrays, shape, kind):
    """A session of that node, and its output's array."""
    given = [helper.make_tensor_value_info(f"x{i}", kind, array.shape) for i, array in enumerate(arrays)]
    graph = helper.make_graph([node], "op", given, [helper.make_tensor_value_info("y", kind, shape)])
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("stylogram", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    made = queue.empty(shape, arrays[0].dtype)
    values = {"y": (made, kind), **{f"x{i}": (queue.upload(array), kind) for i, array in enumerate(arrays)}}
    return sessions._Bound(model, values, Place("cuda", queue, graphs=False)), made


def drawn(shape, seed, stored):
    """Sixteenths, and the same as the type's bits."""
    values = torch.from_numpy(numbers(shape, seed, np.float32) / 4).to(getattr(torch, stored))
    return values.float(), values.view(torch.int16).numpy().view(np.uint16) if stored == "bfloat16" else values.numpy()


def widened(values, stored):
    return (
        torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        if stored == "bfloat16"
        else torch.from_numpy(values)
    )
