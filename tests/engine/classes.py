"""Small networks with classes for the engine's tests."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.layers import discover
from stylogram_export.network import Network
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

NAMES = ["tench, Tinca tinca", "banana", "crane", "crane, bird", "cliff"]


def classifier(side=None, names=True, softmax=True, flat=False, seed=0, classes=5, single=False):
    """Conv, ReLU, pool, Conv, ReLU, Conv -> map of classes -> mean (or, `flat`, a Gemm on a fixed size) -> softmax.

    `single`: its file is made for one picture at a time, as many of the ONNX zoo's are.
    """
    rng = np.random.default_rng(seed)
    sizes = {"w1": (6, 3, 3, 3), "w2": (8, 6, 3, 3), "w3": (classes, 8, 1, 1)}
    weights = {k: rng.standard_normal(s) * np.sqrt(2 / np.prod(s[1:])) for k, s in sizes.items()}
    nodes = [
        helper.make_node("Conv", ["data", "w1"], ["z1"], pads=[1] * 4),
        helper.make_node("Relu", ["z1"], ["a1"]),
        helper.make_node("MaxPool", ["a1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["z2"], pads=[1] * 4),
        helper.make_node("Relu", ["z2"], ["a2"]),
        helper.make_node("Conv", ["a2", "w3"], ["map"]),
    ]
    if flat:
        flatten = helper.make_node("Flatten", ["map"], ["rows"])
        weights["w4"] = rng.standard_normal((classes * (side // 2) ** 2, classes)) * 0.1
        nodes += [
            helper.make_node("Reshape", ["map", "row"], ["rows"]) if single else flatten,
            helper.make_node("MatMul", ["rows", "w4"], ["logits"]),
        ]
    else:
        nodes += [helper.make_node("GlobalAveragePool", ["map"], ["mean"])]
        nodes += [helper.make_node("Flatten", ["mean"], ["logits"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["prob"]))
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, side or "H", side or "W"])]
    outputs = [helper.make_tensor_value_info("prob" if softmax else "logits", TensorProto.FLOAT, ["N", classes])]
    constants = [numpy_helper.from_array(value.astype("f4"), name) for name, value in weights.items()]
    if single:
        constants.append(numpy_helper.from_array(np.array([1, classes * (side // 2) ** 2]), "row"))
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    if names:
        onnx.helper.set_model_props(model, {"stylogram.classes": json.dumps(NAMES)})
    model = prepare(model)
    return Network("classifier", model, PREPROCESS["unit"], discover(model))
