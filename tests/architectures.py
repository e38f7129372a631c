"""The networks that the onnx package ships, with random weights, and what PyTorch says about their gradients."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from stylogram_export.graph import attributes

Array = NDArray[Any]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"]
NAMES += ["vgg19", "zfnet512"]
THIN = 64  # how wide the hidden layers of classifiers become here: 4096 would only cost memory


def light(name: str) -> onnx.ModelProto:
    """The file as it is: opset 9, initialisers among the inputs, weights made by ConstantOfShape, all alike."""
    return onnx.load(LIGHT / f"light_{name}.onnx")


def squeezenet() -> Path:
    """SqueezeNet 1.0 with trained weights, from the shared data."""
    root = Path(__file__).parents[1]
    return root / os.environ.get("STYLOGRAM_SHARED", "../shared") / "data" / "models" / "squeezenet1_0.onnx"


def with_weights(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A copy with seeded random weights, of the size that keeps activations near 1, instead of the ConstantOfShapes."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, random = made.graph, np.random.default_rng(seed)
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    roles = _roles(graph)
    kept, weights = [], []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        op, position = roles[node.output[0]]
        shape = _thin(op, position, [int(n) for n in shapes[node.input[0]]])
        weights.append(numpy_helper.from_array(_weight(random, op, position, shape), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    return made


def _roles(graph: onnx.GraphProto) -> dict[str, tuple[str, int]]:
    """For each tensor, the op that reads it and as which input; through Unsqueeze."""
    roles = {name: (node.op_type, i) for node in graph.node for i, name in enumerate(node.input)}
    for node in graph.node:
        if node.op_type == "Unsqueeze":
            roles[node.input[0]] = roles[node.output[0]]
    return roles


def _thin(op: str, position: int, shape: list[int]) -> list[int]:
    """Classifiers' hidden layers of 4096 as `THIN` ones; weights are (out, in), biases (out)."""
    return [THIN if n == 4096 else n for n in shape] if op == "Gemm" and position > 0 else shape


def _weight(random: np.random.Generator, op: str, position: int, shape: list[int]) -> Array:
    noise = random.standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if op == "Mul" or (op, position) in (("BatchNormalization", 1), ("BatchNormalization", 4)):
        return random.uniform(0.7, 1.3, shape).astype(np.float32)
    return noise * np.float32(0.1)


def torch_gradient(model: onnx.ModelProto, x: Array, gy: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    """A clean graph run in PyTorch in float64: the tensors named by `gy`, and the gradient of Σ <tensor, gy>."""
    held = {t.name: _tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    picture = _tensor(x).requires_grad_()
    held[model.graph.input[0].name] = picture
    for node in model.graph.node:
        inputs = [held[name] for name in node.input]
        held[node.output[0]] = OPS[node.op_type](*inputs, **attributes(node))
    total = sum((held[name] * _tensor(value)).sum() for name, value in gy.items())
    total.backward()
    return {name: held[name].detach().numpy() for name in gy}, picture.grad.numpy()


def _tensor(value: Array) -> torch.Tensor:
    return torch.from_numpy(value.astype(np.float64) if value.dtype == np.float32 else np.array(value))


def _conv(x: Any, w: Any, b: Any = None, **stated: Any) -> Any:
    top, left, bottom, right = stated.get("pads", [0] * 4)
    x = torch.nn.functional.pad(x, [left, right, top, bottom])
    words = {"stride": stated.get("strides", 1), "dilation": stated.get("dilations", 1)}
    return torch.nn.functional.conv2d(x, w, b, groups=stated.get("group", 1), **words)


def _max_pool(x: Any, **stated: Any) -> Any:
    top, left, bottom, right = stated.get("pads", [0] * 4)
    x = torch.nn.functional.pad(x, [left, right, top, bottom], value=-float("inf"))
    ceil = bool(stated.get("ceil_mode", 0))
    return torch.nn.functional.max_pool2d(x, stated["kernel_shape"], stated.get("strides", 1), ceil_mode=ceil)


def _average_pool(x: Any, **stated: Any) -> Any:
    """Counts by pooling ones: right for uneven pads too."""
    top, left, bottom, right = stated.get("pads", [0] * 4)
    kernel, strides = stated["kernel_shape"], stated.get("strides", 1)
    padded = [
        torch.nn.functional.avg_pool2d(torch.nn.functional.pad(t, [left, right, top, bottom]), kernel, strides)
        for t in (x, torch.ones_like(x))
    ]
    return padded[0] if stated.get("count_include_pad", 0) else padded[0] / padded[1]


def _gemm(a: Any, b: Any, c: Any = 0, **stated: Any) -> Any:
    product = (a.T if stated.get("transA", 0) else a) @ (b.T if stated.get("transB", 0) else b)
    return stated.get("alpha", 1.0) * product + stated.get("beta", 1.0) * c


def _batch_norm(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, epsilon: float = 1e-5, **_: Any) -> Any:
    return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, eps=epsilon)


OPS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": lambda *x, axis: torch.cat(x, axis),
    "Conv": _conv,
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Identity": lambda x: x,
    "LRN": lambda x, size, alpha, beta, bias: torch.nn.functional.local_response_norm(x, size, alpha, beta, bias),
    "MaxPool": _max_pool,
    "Mul": lambda a, b: a * b,
    "Relu": torch.relu,
    "Reshape": lambda x, shape, **_: x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)]),
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Sum": lambda *x: sum(x),
    "Transpose": lambda x, perm: x.permute(perm),
}
