"""How a gradient rule is checked: its examples as small models, against central differences and against PyTorch."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from stylogram_export import Derivative, differentiate
from stylogram_export.rules import Example, Rule, rules
from vjp_reference import MENDED

Array = NDArray[Any]
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Case:
    """An example with the rule that it is for and an id for pytest."""

    rule: Rule
    example: Example
    id: str


def cases() -> list[Case]:
    """Every example of every rule."""
    found = []
    for rule in {rule.name: rule for rule in rules().values()}.values():
        for i, example in enumerate(rule.examples):
            found.append(Case(rule, example, f"{rule.name.split('.')[-1]}-{i}-{example.op} {example.title}".strip()))
    return found


def activations(example: Example) -> list[tuple[int, ...]]:
    return [given for given in example.inputs if isinstance(given, tuple)]


def model_of(example: Example, dtype: type[np.floating[Any]]) -> tuple[onnx.ModelProto, list[str]]:
    """The example's node behind a picture `x`, and its floating outputs.

    One activation of rank 4 is the picture itself; otherwise the picture is one long row, and the activations are cut
    out of it and reshaped.
    """
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes = activations(example)
    direct = len(shapes) == 1 and len(shapes[0]) == 4
    total = sum(int(np.prod(shape)) for shape in shapes)
    nodes, constants, names, start = [], [], [], 0
    for i, given in enumerate(example.inputs):
        if given is None:
            names.append("")
        elif not isinstance(given, tuple):
            value = given.astype(dtype) if given.dtype == np.float64 else given
            constants.append(numpy_helper.from_array(value, f"c{i}"))
            names.append(f"c{i}")
        elif direct:
            names.append("x")
        else:
            bounds = np.asarray([start, start + int(np.prod(given))], np.int64)
            start = int(bounds[1])
            constants += [
                numpy_helper.from_array(np.asarray([value], np.int64), f"{what}{i}")
                for what, value in zip(("from", "to", "axis"), [*bounds, 3], strict=True)
            ]
            constants.append(numpy_helper.from_array(np.asarray(given, np.int64), f"shape{i}"))
            nodes.append(helper.make_node("Slice", ["x", f"from{i}", f"to{i}", f"axis{i}"], [f"row{i}"]))
            nodes.append(helper.make_node("Reshape", [f"row{i}", f"shape{i}"], [f"a{i}"]))
            names.append(f"a{i}")
    outputs = [f"y{i}" for i in range(example.outputs)]
    nodes.append(helper.make_node(example.op, names, outputs, **example.attributes))
    picture = helper.make_tensor_value_info("x", kind, shapes[0] if direct else (1, 1, 1, total))
    values = [helper.make_tensor_value_info(name, example.attributes.get("to", kind), None) for name in outputs]
    graph = helper.make_graph(nodes, "example", [picture], values, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), outputs


def derivative_of(example: Example, dtype: type[np.floating[Any]]) -> Derivative:
    model, outputs = model_of(example, dtype)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return differentiate(model, outputs, shape)


def picture_of(example: Example) -> Array:
    """Distinct values evenly spread over the example's span, in random order; or `levels` different ones."""
    shapes = activations(example)
    total = sum(int(np.prod(shape)) for shape in shapes)
    random = np.random.default_rng(zlib.crc32(repr((example.op, example.title, shapes)).encode()))
    low, high = example.span
    if example.levels:
        flat = random.integers(0, example.levels, total) * (high - low) / example.levels + low
    else:
        flat = random.permutation(low + (np.arange(total) + 0.37) * (high - low) / total)
    direct = len(shapes) == 1 and len(shapes[0]) == 4
    return flat.reshape(shapes[0] if direct else (1, 1, 1, total))


class Reference:
    """A pair of graphs in onnx's reference implementation."""

    def __init__(self, derivative: Derivative) -> None:
        self.pair = derivative
        self._forward = ReferenceEvaluator(derivative.forward, new_ops=MENDED)
        self._backward = ReferenceEvaluator(derivative.backward, new_ops=MENDED)

    def forward(self, x: Array) -> Feeds:
        return self._named(self._forward, x)

    def _named(self, evaluator: ReferenceEvaluator, x: Array) -> Feeds:
        names = [v.name for v in self.pair.forward.graph.output]
        return dict(zip(names, evaluator.run(None, {evaluator.input_names[0]: x}), strict=True))

    def backward(self, made: Feeds, gy: Feeds) -> Array:
        return self._backward.run(None, gy | {name: made[name] for name in self.pair.saved})[0]


class Runtime(Reference):
    """A pair of graphs in ONNX Runtime."""

    def __init__(self, derivative: Derivative, threads: int = 1) -> None:
        self.pair = derivative
        self._sessions = [session(derivative.forward, threads), session(derivative.backward, threads)]

    def forward(self, x: Array) -> Feeds:
        names = [v.name for v in self.pair.forward.graph.output]
        return dict(zip(names, self._sessions[0].run(names, {self._sessions[0].get_inputs()[0].name: x}), strict=True))

    def backward(self, made: Feeds, gy: Feeds) -> Array:
        return self._sessions[1].run(["gx"], gy | {name: made[name] for name in self.pair.saved})[0]


def session(model: onnx.ModelProto, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def gradients_at(taps: tuple[str, ...], made: Feeds, seed: int = 0) -> Feeds:
    """Random gy for every tap."""
    random = np.random.default_rng(seed)
    return {f"gy:{tap}": random.standard_normal(made[tap].shape).astype(made[tap].dtype) for tap in taps}


def difference_error(pair: Reference, x: Array, h: float, draws: int = 3) -> float:
    """|<gy, (f(x + h v) - f(x - h v)) / 2 h> - <gx, v>| over the sum of |gx v|; the worst of some random v and gy."""
    made = pair.forward(x)
    worst = 0.0
    for seed in range(draws):
        gy = gradients_at(pair.pair.taps, made, seed)
        gx = pair.backward(made, gy).astype(np.float64)
        v = np.random.default_rng(1000 + seed).standard_normal(x.shape).astype(x.dtype)
        above, below = pair.forward(x + x.dtype.type(h) * v), pair.forward(x - x.dtype.type(h) * v)
        pieces = [gy[f"gy:{tap}"].astype(np.float64) * (above[tap] - below[tap]) for tap in pair.pair.taps]
        numeric = sum(float(piece.sum()) for piece in pieces) / (2 * h)
        size = float(np.abs(gx * v).sum())
        assert size > 0, "the gradient is zero everywhere, so nothing was checked"
        worst = max(worst, abs(numeric - float((gx * v).sum())) / size)
    return worst


def torch_error(example: Example) -> tuple[float, float]:
    """ONNX Runtime in float32 against PyTorch in float64: largest relative error of the outputs, of the gradient."""
    assert example.torch is not None
    pair = Runtime(derivative_of(example, np.float32))
    x = picture_of(example).astype(np.float32)
    made = pair.forward(x)
    gy = gradients_at(pair.pair.taps, made)
    gx = pair.backward(made, gy)
    picture = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    outputs = example.torch(torch, *_torch_inputs(example, picture))
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    named = list(zip(pair.pair.taps, outputs, strict=True))
    sum((y * torch.from_numpy(gy[f"gy:{name}"].astype(np.float64))).sum() for name, y in named).backward()
    forward = max(_relative(made[name], y.detach().numpy()) for name, y in named)
    return forward, _relative(gx, picture.grad.numpy())


def _torch_inputs(example: Example, picture: torch.Tensor) -> list[torch.Tensor]:
    flat, start, found = picture.reshape(-1), 0, []
    for given in example.inputs:
        if isinstance(given, tuple):
            count = int(np.prod(given))
            found.append(flat[start : start + count].reshape(given))
            start += count
        elif given is not None:
            rounded = given.astype(np.float32) if given.dtype == np.float64 else given  # as the float32 graph has it
            found.append(torch.from_numpy(np.array(rounded.astype(given.dtype))))
    return found


def _relative(got: Array, expected: Array) -> float:
    assert got.shape == expected.shape, f"shape {got.shape}, PyTorch has {expected.shape}"
    size = float(np.abs(expected).max())
    assert size > 0, "PyTorch's values are all zero, so nothing was checked"
    return float(np.abs(got - expected).max()) / size


def double(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float model in float64: weights, types and Casts."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in [*made.graph.input, *made.graph.output, *made.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return made
