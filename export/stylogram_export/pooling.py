"""Pools and their gradients as ops of the engine's library: `stylogram.MaxPoolGradient`, and for GPUs `CudaMaxPool`,
`CudaMaxPoolGradient`, `CudaAveragePool` and `CudaAveragePoolGradient`.

In ONNX's words a max-pool is run again for the places of its maxima, and the gradients are scattered there. ONNX
Runtime takes longer for this than for all convolutions of a network like SqueezeNet, whose windows overlap; the op
finds the places and adds up at once. A ReLU's mask on what was pooled is taken up:

    [x > 0] · gx  =  gx from the maxima that are above 0

The gradient of an average is a ConvTranspose with one even filter a channel, which GPUs are slow at.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from .domain import DOMAIN
from .graph import array, attributes, dims

OP, CUDA_OP, CUDA_POOL = "MaxPoolGradient", "CudaMaxPoolGradient", "CudaMaxPool"
CUDA_AVERAGE, CUDA_SPREAD = "CudaAveragePool", "CudaAveragePoolGradient"
STEEP = 1e38  # HardSigmoid with at least this slope, and no offset, is the mask of a ReLU


def mask_of(node: onnx.NodeProto | None) -> str:
    """The tensor whose positive places the output of `node` shows; "" if it is no such mask."""
    if node is None or node.op_type != "HardSigmoid":
        return ""
    stated = attributes(node)
    return node.input[0] if stated.get("alpha", 0.2) >= STEEP and stated.get("beta", 0.5) == 0 else ""


def rewrite_pools(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    types: Mapping[str, onnx.ValueInfoProto],
    cuda: bool = False,
) -> list[onnx.NodeProto]:
    """The nodes of a backward graph with the op for every gradient of a max-pool over pictures; some are left over."""
    return _Pools(nodes, outputs, types, cuda).rewritten()


def cuda_pools(nodes: Sequence[onnx.NodeProto], types: Mapping[str, onnx.ValueInfoProto]) -> list[onnx.NodeProto]:
    """The nodes with our ops for pools over float32 pictures of closed sizes: for max-pools that give no places, and
    for averages over windows that count all their elements."""
    return [_cuda_pool(node, types) or node for node in nodes]


def _cuda_pool(node: onnx.NodeProto, types: Mapping[str, onnx.ValueInfoProto]) -> onnx.NodeProto | None:
    sizes = closed(node.output[0], types)
    if sizes is None or not _is_picture(node.input[0], types):
        return None
    stated = attributes(node)
    if node.op_type == "MaxPool" and _is_plain(node, types) and not any(node.output[1:]):
        op, words = CUDA_POOL, _words(stated)
    elif node.op_type == "AveragePool" and _is_even(stated):
        op, words = CUDA_AVERAGE, {**_words(stated), "scale": 1 / math.prod(stated["kernel_shape"])}
    else:
        return None
    words |= {"sizes": sizes, "channels_last": 0}
    return helper.make_node(op, node.input[:1], node.output[:1], node.name, domain=DOMAIN, **words)


def cuda_spread(
    node: onnx.NodeProto, types: Mapping[str, onnx.ValueInfoProto], values: Mapping[str, onnx.TensorProto]
) -> onnx.NodeProto | None:
    """Our op for the ConvTranspose that is the gradient of averages; None for other nodes."""
    if node.op_type != "ConvTranspose" or len(node.input) > 2 or node.input[1] not in values:
        return None
    sizes, stated = closed(node.output[0], types), attributes(node)
    weights, shape = array(values[node.input[1]]), dims(types[node.input[0]]) if node.input[0] in types else None
    if sizes is None or shape is None or len(shape) != 4 or weights.ndim != 4 or stated.get("group", 1) != shape[1]:
        return None
    plain = stated.get("auto_pad", "NOTSET") == "NOTSET" and set(stated.get("dilations", [1])) == {1}
    if not plain or weights.shape[:2] != (shape[1], 1) or not (weights == weights.flat[0]).all():
        return None
    words = _words({**stated, "kernel_shape": weights.shape[2:]}) | {"sizes": sizes, "scale": float(weights.flat[0])}
    return helper.make_node(
        CUDA_SPREAD, node.input[:1], node.output[:1], node.name, domain=DOMAIN, channels_last=0, **words
    )


def closed(name: str, types: Mapping[str, onnx.ValueInfoProto]) -> list[int] | None:
    """The height and width of a picture, if they are known."""
    shape = dims(types[name]) if name in types else None
    sizes = [size for size in (shape or ())[2:] if isinstance(size, int) and size]
    return sizes if shape is not None and len(shape) == 4 and len(sizes) == 2 else None


def _is_picture(name: str, types: Mapping[str, onnx.ValueInfoProto]) -> bool:
    """Whether it is of float32 and (N,C,H,W)."""
    value = types.get(name)
    return value is not None and len(dims(value) or ()) == 4 and value.type.tensor_type.elem_type == TensorProto.FLOAT


def _is_even(stated: Mapping[str, Any]) -> bool:
    """Whether every window of an average counts all its elements."""
    plain = stated.get("auto_pad", "NOTSET") == "NOTSET" and set(stated.get("dilations", [1])) == {1}
    counted = not any(stated.get("pads", [])) or bool(stated.get("count_include_pad", 0))
    return plain and counted and not stated.get("ceil_mode", 0)


def _is_plain(node: onnx.NodeProto, types: Mapping[str, onnx.ValueInfoProto]) -> bool:
    """Whether the node is a max-pool over float32 pictures (N,C,H,W), without dilations."""
    if node.op_type != "MaxPool" or node.domain or not _is_picture(node.input[0], types):
        return False
    stated = attributes(node)
    plain = set(stated.get("dilations", [1])) == {1} and not stated.get("storage_order", 0)
    return plain and stated.get("auto_pad", "NOTSET") == "NOTSET"


def _words(stated: Mapping[str, Any]) -> dict[str, Any]:
    """A pool's attributes as the ops have them."""
    kernel = stated["kernel_shape"]
    return {"kernel_shape": kernel, "strides": stated.get("strides", [1, 1]), "before": stated.get("pads", [0] * 4)[:2]}


@dataclass
class _Gradient:
    pool: onnx.NodeProto
    gy: str
    positive: bool = False


class _Pools:
    def __init__(
        self,
        nodes: Sequence[onnx.NodeProto],
        outputs: Sequence[str],
        types: Mapping[str, onnx.ValueInfoProto],
        cuda: bool,
    ) -> None:
        self._nodes, self._types, self._cuda = nodes, types, cuda
        self._makers = {name: node for node in nodes for name in node.output if name}
        self._uses = Counter([*outputs, *(name for node in nodes for name in node.input)])

    def rewritten(self) -> list[onnx.NodeProto]:
        found: dict[str, _Gradient] = {}  # by the tensor that they make
        for node in self._nodes:
            gradient = self._scattered(node) or self._unpooled(node) or self._masked(node, found)
            if gradient is not None:
                found[node.output[0]] = gradient
        return [self._node(n.output[0], found[n.output[0]]) if n.output[0] in found else n for n in self._nodes]

    def _made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == kind and not node.domain and self._uses[name] == 1 else None

    def _pool(self, where: str) -> onnx.NodeProto | None:
        """The pool over float32 pictures that makes these places."""
        pool = self._makers.get(where)
        return pool if pool is not None and pool.output[1:] == [where] and _is_plain(pool, self._types) else None

    def _scattered(self, node: onnx.NodeProto) -> _Gradient | None:
        """As vjp/maxpool.py makes it where windows overlap."""
        total = self._made_by(node.input[0], "ScatterElements") if node.op_type == "Reshape" else None
        if total is None or attributes(total).get("reduction") != "add":
            return None
        places, values = (self._made_by(name, "Reshape") for name in total.input[1:])
        pool = self._pool(places.input[0]) if places is not None else None
        return _Gradient(pool, values.input[0]) if pool is not None and values is not None else None

    def _unpooled(self, node: onnx.NodeProto) -> _Gradient | None:
        """As it is where they do not, also with the mask on the gradients that unpooling.py puts there."""
        pool = self._pool(node.input[1]) if node.op_type == "MaxUnpool" else None
        if pool is None:
            return None
        product = self._made_by(node.input[0], "Mul")
        if product is not None and mask_of(self._makers.get(product.input[1])) == pool.output[0]:
            return _Gradient(pool, product.input[0], True)
        return _Gradient(pool, node.input[0])

    def _masked(self, node: onnx.NodeProto, found: Mapping[str, _Gradient]) -> _Gradient | None:
        if node.op_type != "Mul":
            return None
        for name, mask in (node.input, node.input[::-1]):
            gradient = found.get(name)
            if gradient and self._uses[name] == 1 and mask_of(self._makers.get(mask)) == gradient.pool.input[0]:
                return _Gradient(gradient.pool, gradient.gy, True)
        return None

    def _node(self, output: str, gradient: _Gradient) -> onnx.NodeProto:
        words = {**_words(attributes(gradient.pool)), "positive": int(gradient.positive)}
        words |= {"channels_last": 0} if self._cuda else {}
        read, op = [gradient.pool.input[0], gradient.gy], CUDA_OP if self._cuda else OP
        return helper.make_node(op, read, [output], output, domain=DOMAIN, **words)
