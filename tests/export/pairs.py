"""What the tests of GPUs' graphs share: pairs of a small VGG, run in ONNX Runtime with our ops."""

import numpy as np
import onnxruntime
from narrow_vgg import weights
from onnx import helper, numpy_helper
from stylogram import _core
from stylogram_export import differentiate
from stylogram_export.graph import attributes, rebuild
from stylogram_export.models import vgg
from stylogram_export.prepare import prepare

#: Of a gradient: where rounding turns an activation's sign or another maximum wins, a path opens or closes.
FLIPS = 0.1
TAPS = ["conv4_2", "conv1_1", "conv2_1", "conv5_1"]


def pair_of(shape, pooling="max", scale=1.0):
    tensors = weights()
    if scale != 1:
        tensors = {
            name: value * np.float32(scale if name == "conv1_1.weight" else 1) for name, value in tensors.items()
        }
    counts = vgg.counts_of(tensors)
    return differentiate(prepare(vgg.graph("narrow", counts, len(counts) - 1, tensors, pooling)), TAPS, shape)


def run(model, given):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.register_custom_ops_library(_core.__file__)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([v.name for v in session.get_outputs()], session.run(None, given), strict=True))


def gradients(pair, x, seed=0):
    """The forward's outputs and gx for random gradients at the taps."""
    made = run(pair.forward, {pair.forward.graph.input[0].name: x})
    rng = np.random.default_rng(seed)
    incoming = {f"gy:{tap}": rng.standard_normal(made[tap].shape, np.float32) for tap in pair.taps}
    given = made | incoming
    return made, run(pair.backward, {v.name: given[v.name] for v in pair.backward.graph.input})["gx"]


def left_over(words, kernel):
    """How many rows and columns of a picture of these sizes the convolution's last filters do not reach."""
    each = zip(words["sizes"], words["pads"], words["dilations"], kernel, words["strides"], strict=True)
    return [(n + 2 * p - d * (k - 1) - 1) % s for n, p, d, k, s in each]


def spelled_out(model):
    """The model with ONNX's words for CudaConv and CudaConvTranspose, which only a GPU has."""
    made, values = [], {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("CudaConv", "CudaConvTranspose"):
            made.append(node)
            continue
        words, out = attributes(node), node.output[0]
        turned = numpy_helper.to_array(values[node.input[1]]).transpose(0, 3, 1, 2)
        values[f"{out}:w"] = numpy_helper.from_array(np.ascontiguousarray(turned), f"{out}:w")
        conv = {"pads": words["pads"] * 2, "strides": words["strides"], "dilations": words["dilations"]}
        if node.op_type == "CudaConvTranspose":
            conv |= {"group": words["group"], "output_padding": left_over(words, turned.shape[2:])}
        made += [
            helper.make_node("Transpose", node.input[:1], [f"{out}:x"], perm=[0, 3, 1, 2]),
            helper.make_node(node.op_type[4:], [f"{out}:x", f"{out}:w", *node.input[2:]], [f"{out}:y"], **conv),
            helper.make_node("Relu" if words.get("relu") else "Identity", [f"{out}:y"], [f"{out}:z"]),
            helper.make_node("Transpose", [f"{out}:z"], [out], perm=[0, 2, 3, 1]),
        ]
    graph = helper.make_graph(made, "spelled", model.graph.input, model.graph.output, list(values.values()))
    return rebuild(model, graph)
