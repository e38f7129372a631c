"""A ReLU before a max-pool, on the way back: its mask where the maxima are.

    [y > 0] · unpool(g, argmax y)  =  unpool(g · [max y > 0], argmax y)

is exact, bit for bit: beside the maxima both are 0. The right side masks a quarter as much, and reads the maxima, which
are otherwise made for nothing and held by ONNX Runtime until the run ends.
"""

from collections import Counter
from collections.abc import Sequence

import onnx
from onnx import helper

from .graph import attributes, fresh


def mask_maxima(nodes: Sequence[onnx.NodeProto], taken: set[str]) -> list[onnx.NodeProto]:
    """The nodes of a backward graph with every such product turned round; the masks that this spares are left over.

    `taken`: the tensor names in use, to which those made here are added.
    """
    makers = {name: node for node in nodes for name in node.output if name}
    uses = Counter(name for node in nodes for name in node.input)
    turned: dict[str, list[onnx.NodeProto]] = {}  # what replaces a node, by its first output
    for node in nodes:
        found = _masked_unpool(node, makers) if node.op_type == "Mul" else None
        if found is None or uses[found[0].output[0]] > 1:
            continue
        unpool, pool, mask = found
        turned[unpool.output[0]] = []
        turned[node.output[0]] = _turned(node.output[0], unpool, pool, mask, taken)
    return [new for node in nodes for new in turned.get(node.output[0], [node])]


def _masked_unpool(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]
) -> tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto] | None:
    """The MaxUnpool, the MaxPool and the mask behind a Mul of an unpooled gradient with the mask of what was pooled."""
    unpool, mask = (makers.get(name) for name in node.input)
    if unpool is None or mask is None or (unpool.op_type, mask.op_type) != ("MaxUnpool", "HardSigmoid"):
        return None
    pool = makers.get(unpool.input[1])
    return (unpool, pool, mask) if pool is not None and pool.input[0] == mask.input[0] else None


def _turned(
    output: str, unpool: onnx.NodeProto, pool: onnx.NodeProto, mask: onnx.NodeProto, taken: set[str]
) -> list[onnx.NodeProto]:
    maxima = pool.output[0]
    positive, kept = fresh(f"{maxima}:mask", taken), fresh(f"{maxima}:gx", taken)
    gradient, *others = unpool.input
    return [
        helper.make_node("HardSigmoid", [maxima], [positive], positive, **attributes(mask)),
        helper.make_node("Mul", [gradient, positive], [kept], kept),
        helper.make_node("MaxUnpool", [kept, *others], [output], output, **attributes(unpool)),
    ]
