"""Units that are asleep: a ReLU that is 0 everywhere has no gradient, and what is to wake it cannot be told.

Here the last ReLUs before a layer become y = max(x, LEAK · x). Olah, Mordvintsev and Schubert's program has the same
trouble, and lets the gradient through its ReLUs for the first steps ("redirected ReLU").
"""

import onnx

LEAK = 0.01
#: What keeps a unit that is 0 everywhere so: the search for its ReLU goes through them.
_BETWEEN = (
    "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape", "Squeeze", "Identity",
    "Dropout",
)  # fmt: skip


def last_relus(graph: onnx.GraphProto, tensor: str) -> list[onnx.NodeProto]:
    """The ReLUs whose outputs are all that a tensor is made of: none of its values is below 0."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting, found = [tensor], []
    while waiting:
        node = makers.get(waiting.pop())
        if node is None:
            continue
        if node.op_type == "Relu":
            found.append(node)
        elif node.op_type in _BETWEEN:
            waiting += node.input[:] if node.op_type == "Concat" else node.input[:1]
    return found


def awakened(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto | None:
    """A copy of `model` in which the last ReLUs before a tensor leak; None if there are none."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    relus = last_relus(made.graph, tensor)
    for node in relus:
        node.op_type = "LeakyRelu"
        node.attribute.append(onnx.helper.make_attribute("alpha", LEAK))
    return made if relus else None
