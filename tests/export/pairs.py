"""What the tests of GPUs' graphs share: pairs of a small VGG, run in ONNX Runtime with our ops."""

import numpy as np
import onnxruntime
from narrow_vgg import weights
from stylogram import _core
from stylogram_export import differentiate
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
