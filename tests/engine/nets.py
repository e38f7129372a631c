"""Small networks for the engine's tests."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.layers import Layers
from stylogram_export.models import vgg
from stylogram_export.network import Network
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

VGG19 = (2, 2, 4, 4, 4)


def weights(counts=VGG19, widths=(6, 8, 10, 12, 12), seed=0):
    """He-scaled weights of a narrow VGG, its biases not zero."""
    rng = np.random.default_rng(seed)
    tensors, channels = {}, 3
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True), 1):
        for index in range(1, count + 1):
            scale = np.sqrt(2 / (9 * channels))
            tensors[f"conv{stage}_{index}.weight"] = (rng.standard_normal((width, channels, 3, 3)) * scale).astype("f4")
            tensors[f"conv{stage}_{index}.bias"] = (rng.standard_normal(width) * 0.1).astype("f4")
            channels = width
    return tensors


def narrow(tensors=None, counts=VGG19, preprocess="imagenet", pooling="max"):
    """A VGG-19 of few channels."""
    tensors = weights(counts) if tensors is None else tensors
    model = prepare(vgg.graph("narrow", counts, len(counts) - 1, tensors, pooling))
    return Network("narrow", model, PREPROCESS[preprocess], vgg.layers(counts, len(counts) - 1))


def blocks(height, width, seed, cell=4, tint=(1, 1, 1)):
    """A picture (H,W,3) float32 of coloured squares, its channels times `tint`."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 1, (-(-height // cell), -(-width // cell), 3)) * tint
    return np.kron(cells, np.ones((cell, cell, 1)))[:height, :width].astype("f4")


def put(gradient, values):
    """`values` (N,C,h,w) float32 into a GPU's DeviceFeatures, in its type and order."""
    array = gradient.array
    if array.dtype == np.uint16:  # bfloat16, to nearest
        bits = values.view(np.uint32)
        values = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    values = values.transpose(0, 2, 3, 1) if gradient.channels_last else values
    array.upload(np.ascontiguousarray(values))


def by_hand(*nodes, constants=None, tap="y"):
    """A network of our own making; `x` is the picture, `tap` its layer, called `deep`."""
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes), "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(tap, TensorProto.FLOAT, None)], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Network("hand", model, PREPROCESS["unit"], Layers({"deep": tap}, ("deep",), ("deep",)))


def strided(groups=2):
    """As ResNet and AlexNet begin and go on: a large filter, groups, 1x1, all with strides. Activations: a, b, y."""
    shapes = {"u": (8, 3, 7, 7), "v": (12, 8 // groups, 3, 3), "w": (10, 12, 1, 1)}
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5 for name, shape in shapes.items()}
    values |= {f"{name} bias": np.linspace(-0.1, 0.1, shape[0]) for name, shape in shapes.items()}
    return by_hand(
        helper.make_node("Conv", ["x", "u", "u bias"], ["before a"], strides=[2, 2], pads=[3] * 4),
        helper.make_node("Relu", ["before a"], ["a"]),
        helper.make_node("Conv", ["a", "v", "v bias"], ["before b"], strides=[2, 2], pads=[1] * 4, group=groups),
        helper.make_node("Relu", ["before b"], ["b"]),
        helper.make_node("Conv", ["b", "w", "w bias"], ["before y"], strides=[2, 2]),
        helper.make_node("Relu", ["before y"], ["y"]),
        constants=values,
    )
