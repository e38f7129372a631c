"""What a gradient rule sees: one node on the way back, and the backward graph that it adds to."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from .beside import is_beside, rearranged
from .errors import Error
from .graph import Array, Shape, array, attributes, constants, describe, dims, fresh, names

Gradients = dict[int, str]  # the gradient's name by the input's position


class Tape:
    """The backward graph while it grows, and what is known of the forward graph, which it reads."""

    def __init__(self, graph: onnx.GraphProto, types: Mapping[str, onnx.ValueInfoProto], relu: str) -> None:
        self.types = types
        self.relu = relu
        self.fixed = constants(graph)
        self.shapes = {name: dims(value) for name, value in types.items()}
        self.active: set[str] = set()
        self.saved: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.taken = names(graph) | {"gx"}
        self._same: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def read(self, name: str) -> str:
        """A forward tensor for the backward graph: a constant is copied, an activation is saved."""
        if name in self.fixed:
            self.initializers.setdefault(name, self.fixed[name])
        else:
            self.saved.add(name)
        return name

    def const(self, value: Array, hint: str) -> str:
        """An initialiser; equal ones are shared."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._same:
            name = self._same[key] = fresh(hint, self.taken)
            self.initializers[name] = numpy_helper.from_array(value, name)
        return self._same[key]

    def rearranged(self, name: str, how: Callable[[Array], Array], hint: str) -> str:
        """The constant `name` of the forward graph as an initialiser, its numbers in another order."""
        tensor = self.fixed[name]
        if not is_beside(tensor):
            return self.const(np.ascontiguousarray(how(array(tensor))), hint)
        made = fresh(hint, self.taken)
        self.initializers[made] = rearranged(tensor, how, made)
        return made

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], stated: Mapping[str, Any]) -> None:
        name = fresh(outputs[0] or outputs[1], set())
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **stated))


class Step:
    """One node of the forward graph on the way back.

    Fixed words: `gy` comes in, the rule returns `gx`, and `op(..., name="mask")` makes what is between.
    """

    def __init__(self, tape: Tape, node: onnx.NodeProto, gradients: Sequence[str | None]) -> None:
        self.tape = tape
        self.node = node
        self.gradients = gradients
        self.stated = attributes(node)

    # -- the node -----------------------------------------------------------------------------------------------

    @property
    def gy(self) -> str:
        """The gradient of the first output."""
        if self.gradients[0] is None:
            raise Error(f"{describe(self.node)}: a gradient reached only its further outputs, which have none")
        return self.gradients[0]

    @property
    def relu(self) -> str:
        """Which rule ReLUs are to follow: one of `RELU_MODES`."""
        return self.tape.relu

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default that the op's definition gives it."""
        return self.stated.get(name, default)

    def has(self, i: int) -> bool:
        """Whether the node has an input `i`."""
        return i < len(self.node.input) and bool(self.node.input[i])

    def wants(self, i: int) -> bool:
        """Whether input `i` depends on the picture, so that its gradient is asked for."""
        return self.has(i) and self.node.input[i] in self.tape.active

    # -- forward tensors ------------------------------------------------------------------------------------------

    def x(self, i: int = 0) -> str:
        """Input `i`, for use in the backward graph; an activation is thereby saved in the forward one."""
        return self.tape.read(self.node.input[i])

    def y(self, i: int = 0) -> str:
        """Output `i`, for use in the backward graph; it is thereby saved in the forward one."""
        return self.tape.read(self.node.output[i])

    def constant(self, i: int) -> Array:
        """The values of input `i`; `Error` if they depend on the picture or its size."""
        name = self.node.input[i]
        if name not in self.tape.fixed:
            raise Error(f"{describe(self.node)}: its input {i} ({name!r}) must be a constant for a gradient")
        return array(self.tape.fixed[name])

    def shape(self, i: int = 0) -> Shape:
        """Input `i`'s shape, `None` for open sizes."""
        return self._shape(self.node.input[i])

    def shape_y(self, i: int = 0) -> Shape:
        """Output `i`'s shape, `None` for open sizes."""
        return self._shape(self.node.output[i])

    def fixed(self, i: int = 0) -> tuple[int, ...]:
        """Input `i`'s shape; `Error` if a size of it is open."""
        return tuple(self.size(axis, i) for axis in range(len(self.shape(i))))

    def size(self, axis: int, i: int = 0) -> int:
        """One size of input `i`; `Error` if it is open."""
        size = self.shape(i)[axis]
        if size is None:
            what = f"axis {axis} of {self.node.input[i]!r}"
            raise Error(f"{describe(self.node)} needs a fixed size of {what} for its gradient: leave no None in shape")
        return size

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The element type of the first output."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.element_type(self.node.output[0])))

    def element_type(self, name: str) -> int:
        """ONNX's number for the element type of a forward tensor."""
        return self.tape.types[name].type.tensor_type.elem_type

    def _shape(self, name: str) -> Shape:
        shape = self.tape.shapes.get(name)
        if shape is None:
            raise Error(f"{describe(self.node)}: the rank of {name!r} is unknown")
        return shape

    # -- the backward graph ---------------------------------------------------------------------------------------

    def name(self, hint: str) -> str:
        """A new tensor name that tells which node it belongs to."""
        return fresh(f"{self.node.name}:{hint}", self.tape.taken)

    def op(self, op: str, *inputs: str, name: str = "gx", **stated: Any) -> str:
        """Adds a node; returns its output's name, made from the hint `name`."""
        return self.ops(op, *inputs, names=[name], **stated)[0]

    def ops(self, op: str, *inputs: str, names: Sequence[str], **stated: Any) -> list[str]:
        """Adds a node with several outputs, one for each hint; an empty hint leaves that output out."""
        outputs = [self.name(hint) if hint else "" for hint in names]
        self.tape.add(op, inputs, outputs, stated)
        return outputs

    def const(self, value: ArrayLike, name: str = "c") -> str:
        """A constant in the node's element type."""
        return self.tape.const(np.asarray(value, self.dtype), f"{self.node.name}:{name}")

    def rearranged(self, i: int, how: Callable[[Array], Array], name: str) -> str:
        """Input `i`, a constant, with its numbers in another order."""
        return self.tape.rearranged(self.node.input[i], how, f"{self.node.name}:{name}")

    def ints(self, *values: int) -> str:
        """A one-dimensional int64 constant: a shape, axes, pads."""
        return self.tape.const(np.asarray(values, np.int64).reshape(-1), f"ints:{','.join(map(str, values))}")

    def shape_of(self, i: int = 0) -> str:
        """Input `i`'s shape as an int64 tensor: a constant where it is known, else taken from the saved activation."""
        return self._shape_of(self.node.input[i])

    def count(self, *axes: int) -> str:
        """The product of some sizes of input 0, as a number."""
        sizes = [self.shape()[axis] for axis in axes]
        closed = [size for size in sizes if size is not None]
        if len(closed) == len(sizes):
            return self.const(math.prod(closed))
        picked = self.op("Gather", self.shape_of(), self.ints(*axes), name="sizes")
        product = self.op("ReduceProd", picked, name="count", keepdims=0)
        return self.op("Cast", product, name="count", to=self.element_type(self.node.output[0]))

    def reshape(self, gradient: str, i: int = 0) -> str:
        """A gradient in the shape of input `i`."""
        return self.op("Reshape", gradient, self.shape_of(i), allowzero=1)

    def zeros(self, i: int = 0) -> str:
        """Zeros in the shape of input `i`."""
        return self.op("ConstantOfShape", self.shape_of(i), name="zeros", value=self.scalar(0))

    def zeros_y(self, i: int = 0) -> str:
        """Zeros in the shape of output `i`."""
        return self.op("ConstantOfShape", self._shape_of(self.node.output[i]), name="zeros", value=self.scalar(0))

    def mul(self, a: str, b: str, *more: str, name: str = "gx") -> str:
        """a · b · ..."""
        made = self.op("Mul", a, b, name=name)
        return self.mul(made, *more, name=name) if more else made

    def add(self, a: str, b: str, *more: str, name: str = "gx") -> str:
        """a + b + ..."""
        made = self.op("Add", a, b, name=name)
        return self.add(made, *more, name=name) if more else made

    def sub(self, a: str, b: str, name: str = "gx") -> str:
        """a - b"""
        return self.op("Sub", a, b, name=name)

    def positive(self, x: str) -> str:
        """[x > 0] as 0.0 and 1.0.

        A HardSigmoid so steep that it is a step: unlike Greater and Where it keeps ONNX Runtime's blocked layout, and
        is three times as fast. In half precision, where the slope would overflow, sign and ReLU do the same.
        """
        if self.dtype == np.float16:
            return self.op("Relu", self.op("Sign", x, name="sign"), name="mask")
        return self.op("HardSigmoid", x, name="mask", alpha=3e38, beta=0.0)

    def _shape_of(self, name: str) -> str:
        shape = self._shape(name)
        closed = [size for size in shape if size is not None]
        return self.ints(*closed) if len(closed) == len(shape) else self.op("Shape", self.tape.read(name), name="shape")

    def scalar(self, value: float) -> onnx.TensorProto:
        """One number in the node's element type, for the attribute `value` of ConstantOfShape."""
        return numpy_helper.from_array(np.asarray([value], self.dtype))
