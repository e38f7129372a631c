"""What a network expects of its pictures, and how to fold that into its graph.

network input = ((x[order] · scale) - mean) / std     for x RGB in [0,1]
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .errors import Error, one_of
from .graph import array, attributes, constants, fresh, names, pictures

Order = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]
ORDERS: dict[str, list[int]] = {"RGB": [0, 1, 2], "BGR": [2, 1, 0]}  # the network's channel c is RGB's ORDERS[order][c]


@dataclass(frozen=True)
class Preprocess:
    """network input = ((x[order] · scale) - mean) / std for x RGB in [0,1].

    `mean` and `std` are in the network's channel order and after `scale`: Caffe's mean is (103.939, 116.779, 123.68)
    for BGR pictures of scale 255.
    """

    order: Order = "RGB"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise one_of("channel order", str(self.order), ORDERS)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise Error(f"preprocessing: {name} must be 3 finite numbers, got {values!r}")
        if not math.isfinite(self.scale) or self.scale <= 0 or min(self.std) <= 0:
            raise Error(f"preprocessing: scale and std must be above 0, got {self.scale} and {self.std}")

    def apply(self, x: NDArray[Any]) -> NDArray[Any]:
        """The network's input (N,3,H,W) for pictures x (N,3,H,W), RGB in [0,1], in x's precision."""
        column = (3, 1, 1)
        mean, std = (np.array(values, x.dtype).reshape(column) for values in (self.mean, self.std))
        return cast(NDArray[Any], (x[:, ORDERS[self.order]] * x.dtype.type(self.scale) - mean) / std)

    def to_json(self) -> str:
        """One line for `metadata_props`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Preprocess":
        """The inverse of to_json. Raises Error for anything that is not exactly its four entries."""
        try:
            entries = json.loads(text)
        except json.JSONDecodeError as error:
            raise Error(f"preprocessing: not JSON: {text[:80]!r} ({error})") from error
        accepted = list(cls.__dataclass_fields__)
        if not isinstance(entries, dict) or sorted(entries) != sorted(accepted):
            raise Error(f"preprocessing: an object with exactly {', '.join(accepted)} is needed, got {text[:200]}")
        return cls(
            str(entries["order"]),  # type: ignore[arg-type]  # __post_init__ checks it
            _number("scale", entries["scale"]),
            _triple("mean", entries["mean"]),
            _triple("std", entries["std"]),
        )


PREPROCESS: dict[str, Preprocess] = {
    # torchvision's, and most PyTorch exports'
    "imagenet": Preprocess("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # the Caffe models of Simonyan and Zisserman (2014) and what was converted from them
    "caffe": Preprocess("BGR", 255.0, (103.939, 116.779, 123.68)),
    # the network takes RGB in [0,1] as it is
    "unit": Preprocess(),
}


def named(name: str) -> Preprocess:
    """The preprocessing of that name; Error lists the names there are."""
    if name not in PREPROCESS:
        raise one_of("preprocess", name, PREPROCESS)
    return PREPROCESS[name]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Error(f"preprocessing: {name} must be a number, got {value!r}")
    return float(value)


def _triple(name: str, value: object) -> Triple:
    if not isinstance(value, list) or len(value) != 3:
        raise Error(f"preprocessing: {name} must be a list of 3 numbers, got {value!r}")
    first, second, third = (_number(name, entry) for entry in value)
    return first, second, third


def fold(model: onnx.ModelProto, preprocess: Preprocess) -> onnx.ModelProto:
    """A copy of `model` whose input takes RGB in [0,1] directly: (N,3,H,W), the same name, the same outputs.

    With W the first convolution's weights, c a channel of the network and o(c) the same channel in RGB:

        x' = x - mean_rgb,     mean_rgb[o(c)] = mean[c] / scale
        W'[:, o(c)] = W[:, c] · scale / std[c]

    Zero padding stays exact at the borders: a zero of the network's input is a zero of x'. Where the input has another
    consumer than one ungrouped Conv with constant weights, a 1×1 Conv after the Sub does what W' would.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    source = _source(graph)
    consumers = [node for node in graph.node if source in node.input]
    head = _Head(graph, source)
    order = ORDERS[preprocess.order]
    mean = np.empty(3)
    mean[order] = np.array(preprocess.mean) / preprocess.scale
    gain = preprocess.scale / np.array(preprocess.std)
    if _plain_conv(graph, source, consumers):
        head.into_weights(consumers[0], order, gain)
    else:
        head.convolve(order, gain, consumers)
    if mean.any():
        head.subtract(mean)
    return folded


def _source(graph: onnx.GraphProto) -> str:
    inputs = [value.name for value in pictures(graph)]
    if len(inputs) != 1:
        raise Error(f"a network with one input is needed, got {len(inputs)}: {', '.join(inputs)}")
    return inputs[0]


def _plain_conv(graph: onnx.GraphProto, source: str, consumers: Sequence[onnx.NodeProto]) -> bool:
    """Whether the input goes into one ungrouped Conv with constant weights and nowhere else."""
    if len(consumers) != 1 or consumers[0].op_type != "Conv" or any(out.name == source for out in graph.output):
        return False
    conv = consumers[0]
    constant = conv.input[1] in constants(graph)
    return attributes(conv).get("group", 1) == 1 and constant and list(conv.input).count(source) == 1


class _Head:
    """The edits at a graph's input."""

    def __init__(self, graph: onnx.GraphProto, source: str) -> None:
        self.graph, self.source = graph, source
        self._dtype = helper.tensor_dtype_to_np_dtype(pictures(graph)[0].type.tensor_type.elem_type)
        self._taken = names(graph)

    def into_weights(self, conv: onnx.NodeProto, order: list[int], gain: NDArray[np.float64]) -> None:
        """W'[:, o(c)] = W[:, c] · gain[c]; the old weights go unless something else reads them."""
        old = constants(self.graph)[conv.input[1]]
        weights = array(old)
        if weights.ndim != 4 or weights.shape[1] != 3:
            raise Error(f"node {conv.name or conv.output[0]!r}: a picture has 3 channels, its weights {weights.shape}")
        if order == [0, 1, 2] and (gain == 1).all():
            return
        scaled = np.empty(weights.shape, np.float64)
        scaled[:, order] = weights * gain.reshape(3, 1, 1)
        conv.input[1] = self._constant("weight", scaled)
        if not any(old.name in node.input for node in self.graph.node):
            self.graph.initializer.remove(old)

    def convolve(self, order: list[int], gain: NDArray[np.float64], consumers: Sequence[onnx.NodeProto]) -> None:
        """A 1×1 Conv with W[c, o(c)] = gain[c] before every consumer; none where it would be the identity."""
        if order == [0, 1, 2] and (gain == 1).all():
            return
        weights = np.zeros((3, 3, 1, 1))
        weights[range(3), order, 0, 0] = gain
        name = self._fresh("scaled")
        _rewire(consumers, self.source, name)
        kernel = self._constant("weight", weights)
        self.graph.node.insert(0, helper.make_node("Conv", [self.source, kernel], [name], name, kernel_shape=[1, 1]))

    def subtract(self, mean: NDArray[np.float64]) -> None:
        """x - mean, read by whatever reads the input now."""
        name = self._fresh("centred")
        _rewire([node for node in self.graph.node if self.source in node.input], self.source, name)
        constant = self._constant("mean", mean.reshape(1, 3, 1, 1))
        self.graph.node.insert(0, helper.make_node("Sub", [self.source, constant], [name], name))

    def _constant(self, stem: str, value: NDArray[np.float64]) -> str:
        name = self._fresh(stem)
        self.graph.initializer.append(numpy_helper.from_array(value.astype(self._dtype), name))
        return name

    def _fresh(self, stem: str) -> str:
        return fresh(f"{self.source}:{stem}", self._taken)


def _rewire(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
