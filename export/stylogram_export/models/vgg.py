"""VGG (Simonyan and Zisserman 2014, table 1: A, B, D and E): stages of 3×3 convolutions, a pool after each.

Tensors: `conv1_1` is the ReLU's output, `conv1_1:linear` what goes into it, `pool1` ... `pool5`. A classifier in the
weights (fc6, fc7, fc8) is applied as convolutions, densely, and averaged over the positions (section 3.2 of the
paper): at 224×224 these are the network's own logits, and larger pictures need no resizing.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import Error
from ..layers import Layers
from ..network import POOLINGS
from . import Architecture, Tensors

STAGES = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
CLASSIFIER = ("fc6", "fc7", "fc8")


def convolutions(counts: Sequence[int]) -> list[str]:
    """The convolutions' names for so many a stage: conv1_1, conv1_2, conv2_1, ..."""
    return [f"conv{stage}_{index}" for stage, count in enumerate(counts, 1) for index in range(1, count + 1)]


def counts_of(tensors: Tensors) -> tuple[int, ...]:
    """How many convolutions each stage has, read off the tensors' names."""
    found = [re.fullmatch(r"conv(\d+)_(\d+)\.weight", name) for name in tensors]
    stages = [int(match[1]) for match in found if match]
    return tuple(stages.count(stage) for stage in range(1, max(stages, default=0) + 1))


def matches(counts: Sequence[int], tensors: Tensors) -> bool:
    """Whether the tensors' names are those of a VGG with so many convolutions a stage."""
    names = {name.removesuffix(".weight") for name in tensors if name.endswith(".weight")}
    return names - set(CLASSIFIER) == set(convolutions(counts))


def initial(counts: Sequence[int], widths: Sequence[int], seed: int) -> dict[str, NDArray[np.float32]]:
    """Orthogonal random weights of gain √2 (Saxe et al. 2014), biases 0: what a seed makes, and nothing learned."""
    rng = np.random.Generator(np.random.PCG64(seed))
    tensors: dict[str, NDArray[np.float32]] = {}
    channels = 3
    for name in convolutions(counts):
        width = widths[int(name[4]) - 1]
        tensors[f"{name}.weight"] = _contiguous(orthogonal(rng, (width, channels, 3, 3), np.sqrt(2)))
        tensors[f"{name}.bias"] = np.zeros(width, np.float32)
        channels = width
    return tensors


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], gain: float) -> NDArray[np.float64]:
    """Weights (O,I,h,w), their matrix O × (I·h·w) a random one with orthonormal rows (or columns) times `gain`."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))  # LAPACKs differ in the signs; with this q is unique (Mezzadri 2007)
    return gain * (q if rows > columns else q.T).reshape(shape)


def layers(counts: Sequence[int], pools: int) -> Layers:
    """The paper's names; the style layers of Gatys et al. (2016) and their content layer, where there are such."""
    names = convolutions(counts)
    also = {f"{name}:linear": f"{name}:linear" for name in names}
    also |= {f"pool{stage}": f"pool{stage}" for stage in range(1, pools + 1)}
    content = next(name for name in ("conv4_2", "conv4_1", names[-1]) if name in names)
    style = tuple(f"conv{stage}_1" for stage in range(1, len(counts) + 1))
    return Layers({name: name for name in names}, style, (content,), also)


def graph(name: str, counts: Sequence[int], pools: int, tensors: Tensors, pooling: str) -> onnx.ModelProto:
    """The forward graph of the VGG with so many convolutions a stage, a pool after the first `pools` stages.

    Widths are the weights' own.
    Raises Error where the weights' names or shapes are not this network's.
    """
    _check_names(name, counts, tensors)
    build = _Builder(name, tensors)
    for stage, count in enumerate(counts, 1):
        for index in range(1, count + 1):
            build.convolution(f"conv{stage}_{index}")
        if stage <= pools:
            build.node(POOLINGS[pooling], f"pool{stage}", kernel_shape=[2, 2], strides=[2, 2])
    if all(f"{name}.weight" in tensors for name in CLASSIFIER):
        build.classifier()
    return build.model()


def _check_names(name: str, counts: Sequence[int], tensors: Tensors) -> None:
    if matches(counts, tensors):
        return
    got = counts_of(tensors)
    known = [other for other, stages in STAGES.items() if stages == got]
    what = known[0] if known else f"{', '.join(map(str, got)) or 'no'} convolutions a stage"
    wanted = ", ".join(map(str, counts))
    raise Error(f"the weights are not those of {name} ({wanted} convolutions a stage): got {what}")


class _Builder:
    """A chain of nodes from the input `x` on; every tensor is called what its node is."""

    def __init__(self, name: str, tensors: Tensors) -> None:
        self._name = name
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._at, self._channels = "x", 3

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> None:
        """Append one node that reads the last tensor."""
        self._nodes.append(helper.make_node(op, [self._at, *inputs], [name], name, **attributes))
        self._at = name

    def convolution(self, name: str, padded: bool = True, relu: bool = True) -> None:
        """conv -> ReLU; the picture's size is kept where `padded`."""
        weight = self._tensors[f"{name}.weight"]
        if name in CLASSIFIER and weight.ndim == 2:
            weight = self._unflattened(name, weight)
        if weight.ndim != 4 or weight.shape[1] != self._channels or weight.shape[2] != weight.shape[3]:
            raise Error(f"{self._name}: {name}.weight must be (O,{self._channels},k,k), got {weight.shape}")
        size = weight.shape[2]
        if padded and size % 2 == 0:
            raise Error(f"{self._name}: {name}.weight must have an odd kernel, got {size}×{size}")
        bias = self._tensors.get(f"{name}.bias", np.zeros(len(weight), np.float32))
        if bias.shape != weight.shape[:1]:
            raise Error(f"{self._name}: {name}.bias must be {weight.shape[:1]}, got {bias.shape}")
        self._constants.append(numpy_helper.from_array(_contiguous(weight), f"{name}.weight"))
        self._constants.append(numpy_helper.from_array(_contiguous(bias), f"{name}.bias"))
        pads = [size // 2 if padded else 0] * 4
        output = f"{name}:linear" if relu else name
        self.node("Conv", output, f"{name}.weight", f"{name}.bias", kernel_shape=[size, size], pads=pads)
        if relu:
            self.node("Relu", name)
        self._channels = len(weight)

    def classifier(self) -> None:
        """fc6, fc7, fc8 as convolutions, their mean over the positions as `logits` (N,classes)."""
        for name in CLASSIFIER:
            self.convolution(name, padded=False, relu=name != CLASSIFIER[-1])
        self.node("GlobalAveragePool", "average")
        self.node("Flatten", "logits")

    def _unflattened(self, name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """(O, C·k·k) -> (O,C,k,k): a matrix on flattened features is a convolution of their whole size."""
        size = round((weight.shape[1] / self._channels) ** 0.5)
        if weight.shape[1] != self._channels * size * size:
            raise Error(f"{self._name}: {name}.weight must be (O, {self._channels}·k·k), got {weight.shape}")
        return weight.reshape(len(weight), self._channels, size, size)

    def model(self) -> onnx.ModelProto:
        """The whole as an opset 18 model."""
        dims: list[str | int | None] = ["N", 3, "H", "W"]
        source = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
        made: list[str | int | None] = ["N", self._channels, None, None]
        made = made[:2] if self._at == "logits" else made
        result = helper.make_tensor_value_info(self._at, TensorProto.FLOAT, made)
        body = helper.make_graph(self._nodes, self._name, [source], [result], self._constants)
        return helper.make_model(
            body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)], producer_name="stylogram"
        )


def _contiguous(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def declare(
    name: str, counts: tuple[int, ...], widths: Sequence[int] = WIDTHS, pools: int = 5, **more: str
) -> Architecture:
    """The Architecture of a VGG with so many convolutions a stage."""
    return Architecture(
        name,
        f"{sum(counts)} convolutions: {', '.join(map(str, counts))} a stage",
        partial(graph, name, counts, pools),
        partial(initial, counts, widths),
        layers(counts, pools),
        partial(matches, counts),
        **more,
    )


ARCHITECTURES = [declare(name, counts) for name, counts in STAGES.items()]
