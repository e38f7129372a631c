"""What the stand-in for CUDA has written down, and the networks that the providers are given: for tests beside."""

import ctypes
import re

import numpy as np
import onnx
from stylogram.devices.arrays import DeviceArray, _Block
from stylogram.devices.graphs import Place
from stylogram.devices.sessions import DevicePass
from stylogram_export.graph import dims, inferred
from stylogram_export.network import folded

from engine import nets

SHAPE = (1, 3, 64, 96)
#: What must not be done while a graph is captured.
FORBIDDEN = ("malloc", "wait", "copy and wait", "copy from or to the host")
CLOSED = ("inception_v2", "shufflenet")  # made for one size
#: Networks with an operator that depends on its input's scale: fp16 is not for them.
NOT_SCALED = ("bvlc_alexnet", "densenet121", "inception_v1", "zfnet512")


def taken() -> list[tuple[str, str, str, str]]:
    """What was done since the last time: now or captured, what, in which stream, which kernel."""
    library = ctypes.CDLL("libcudart.so.13")
    library.standin_take.restype = ctypes.c_char_p
    form = re.compile(r"(now|captured) (.*?) (0x[0-9a-f]+|\(nil\)) (.*)")
    return [found.groups() for line in library.standin_take().decode().splitlines() if (found := form.fullmatch(line))]


def narrow_pass(place: Place, shape: tuple[int, ...] = SHAPE) -> DevicePass:
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1", "conv4_2", "conv5_1")]
    return DevicePass(folded(network, taps), taps, shape, place)


def two_taps(model: onnx.ModelProto) -> list[str]:
    """A tap near the beginning of any network, and its last."""
    types = inferred(model)
    made = [node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Concat", "Conv", "LRN")]
    made = [tensor for tensor in made if len(dims(types[tensor]) or ()) == 4]
    return [made[len(made) // 4], made[-1]]


def filled(self, shape, kind=np.float32):
    """In place of Queue.empty: features that no kernel makes are ones."""
    return self.upload(np.ones(shape, kind))


def uploaded(self, values):
    """Queue.upload, where Queue.empty is the above."""
    made = DeviceArray(self, values.shape, values.dtype, _Block(self.index, values.shape, values.itemsize))
    made.upload(np.ascontiguousarray(values))
    return made
