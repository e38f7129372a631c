"""The gradient of a max-pool as `stylogram.MaxPoolGradient`, an op of the engine's library.

In ONNX's words a max-pool is run again for the places of its maxima, and the gradients are scattered there. ONNX
Runtime takes longer for this than for all convolutions of a network like SqueezeNet, whose windows overlap; the op
finds the places and adds up at once. A ReLU's mask on what was pooled is taken up:

    [x > 0] · gx  =  gx from the maxima that are above 0
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from .domain import DOMAIN
from .graph import attributes, dims

OP = "MaxPoolGradient"
STEEP = 1e38  # HardSigmoid with at least this slope, and no offset, is the mask of a ReLU


def mask_of(node: onnx.NodeProto | None) -> str:
    """The tensor whose positive places the output of `node` shows; "" if it is no such mask."""
    if node is None or node.op_type != "HardSigmoid":
        return ""
    stated = attributes(node)
    return node.input[0] if stated.get("alpha", 0.2) >= STEEP and stated.get("beta", 0.5) == 0 else ""


def rewrite_pools(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], types: Mapping[str, onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    """The nodes of a backward graph with the op for every gradient of a max-pool over pictures; some are left over."""
    return _Pools(nodes, outputs, types).rewritten()


@dataclass
class _Gradient:
    pool: onnx.NodeProto
    gy: str
    positive: bool = False


class _Pools:
    def __init__(
        self, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], types: Mapping[str, onnx.ValueInfoProto]
    ) -> None:
        self._nodes, self._types = nodes, types
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
        if pool is None or pool.op_type != "MaxPool" or pool.output[1:] != [where] or pool.input[0] not in self._types:
            return None
        value = self._types[pool.input[0]]
        shape, stated = dims(value), attributes(pool)
        fits = shape is not None and len(shape) == 4 and value.type.tensor_type.elem_type == TensorProto.FLOAT
        plain = set(stated.get("dilations", [1])) == {1} and not stated.get("storage_order", 0)
        return pool if fits and plain and stated.get("auto_pad", "NOTSET") == "NOTSET" else None

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
        stated = attributes(gradient.pool)
        kernel = stated["kernel_shape"]
        words = {"kernel_shape": kernel, "strides": stated.get("strides", [1, 1])}
        words |= {"before": stated.get("pads", [0] * 4)[:2], "positive": int(gradient.positive)}
        read = [gradient.pool.input[0], gradient.gy]
        return helper.make_node(OP, read, [output], output, domain=DOMAIN, **words)
