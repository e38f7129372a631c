"""What ONNX Runtime's CUDA provider makes of our graphs, without a GPU: see standin/ and scripts/standin.sh.

The provider is the real one. Its kernels are not run, and neither are cuDNN's: nothing is said here of numbers, but for
those of our own ops, which the emulator computes.
"""

import ctypes
import os
import re
from collections import Counter

import architectures
import numpy as np
import onnx
import onnxruntime
import pytest
from kernels import emulated
from onnx import TensorProto, helper
from stylogram import stylize
from stylogram.devices import sessions
from stylogram.devices.arrays import DeviceArray, Queue, _Block
from stylogram.devices.sessions import DevicePass, Place, features_of, open_session
from stylogram.errors import Error
from stylogram.objective import Failed
from stylogram_export.graph import dims, inferred
from stylogram_export.network import folded
from stylogram_export.precision import PRECISIONS
from stylogram_export.prepare import prepare

from engine import nets

pytestmark = pytest.mark.skipif(
    os.environ.get("STYLOGRAM_TEST_STANDIN") != "1", reason="scripts/standin.sh runs these, on the real provider"
)
SHAPE = (1, 3, 64, 96)
#: What must not be done while a graph is captured.
FORBIDDEN = ("malloc", "wait", "copy and wait", "copy from or to the host")


TURNS = ("transpose", "Transpose", "cublas cublasSgeam")
#: Networks with an operator that depends on its input's scale: fp16 is not for them.
CLOSED = ("inception_v2", "shufflenet")  # made for one size
NOT_SCALED = ("bvlc_alexnet", "densenet121", "inception_v1", "zfnet512")


@pytest.fixture(scope="module")
def queue(pytestconfig) -> Queue:
    made = emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
    assert not sessions.missing()
    return made


def taken() -> list[tuple[str, str, str, str]]:
    """What was done since the last time: now or captured, what, in which stream, which kernel."""
    library = ctypes.CDLL("libcudart.so.13")
    library.standin_take.restype = ctypes.c_char_p
    form = re.compile(r"(now|captured) (.*?) (0x[0-9a-f]+|\(nil\)) (.*)")
    return [found.groups() for line in library.standin_take().decode().splitlines() if (found := form.fullmatch(line))]


def narrow_pass(place: Place) -> DevicePass:
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1", "conv4_2", "conv5_1")]
    return DevicePass(folded(network, taps), taps, SHAPE, place)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_is_captured_and_replayed(queue, precision):
    taken()
    network = narrow_pass(Place("cuda", queue, precision))
    captured = [line for line in taken() if line[0] == "captured"]
    assert captured
    assert not [line for line in captured if line[1] in FORBIDDEN]
    assert {line[2] for line in captured if line[1] != "cublas"} == {hex(queue.handle)}
    for run in (network.forward_only, network.backward):
        run()
        assert [line[1] for line in taken()] == ["graph"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_convolutions_take_their_biases_and_nothing_is_done_twice(queue, precision):
    """One launch a convolution; the rest is ours, which is not written down, preprocessing, and Casts in bfloat16."""
    forward, backward, taps = counted(Place("cuda", queue, precision))
    assert forward.pop("convolution") == 13  # to conv5_1
    assert forward.pop("Sub") == 1
    assert backward.pop("convolution") == 13
    turns = {"tf32": taps + 1, "fp16": 1}.get(precision, 0)  # of the picture and the taps, and of their gradients
    assert sum(forward.pop(name, 0) for name in TURNS) == sum(backward.pop(name, 0) for name in TURNS) == turns
    if precision == "fp16":  # the picture, made small and cast, and its gradient; the taps are our ops'
        assert (forward.pop("Mul"), forward.pop("Cast")) == (1, 1)
        assert [backward.pop(name) for name in ("Max", "Div", "Cast")] == [1, 2, 1]
    casts = {"Cast": taps + 1} if precision == "bf16" else {}
    assert dict(forward) == casts
    assert dict(backward) == casts


def counted(place: Place) -> tuple[Counter[str], Counter[str], int]:
    """What is captured of forward and of backward, and how many taps there are."""
    taken()
    network = narrow_pass(place)
    done = taken()
    ends = [at for at, line in enumerate(done) if line[1] == "graph"]
    assert len(ends) == 2
    parts = done[: ends[0]], done[ends[0] :]
    forward, backward = (Counter(kind(*line[1:]) for line in part if line[0] == "captured") for part in parts)
    return forward, backward, len(network.taps)


def test_without_an_engine_for_channels_last_they_come_first(queue, caplog):
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_refuse(2)  # ONNX Runtime asks twice
    forward, _, _ = counted(Place("cuda", queue, "tf32"))
    assert "channels first, which is slower" in caplog.text
    assert not [name for name in forward if name in TURNS]
    library.standin_refuse(2)
    with pytest.raises(Failed, match="the GPU failed"):
        narrow_pass(Place("cuda", queue, "tf32", channels_last=True))
    library.standin_refuse(2)
    with pytest.raises(Failed, match="the GPU failed"):
        narrow_pass(Place("cuda", queue, "fp32"))
    library.standin_refuse(0)


def kind(what: str, stream: str, name: str) -> str:
    if what == "cudnn":
        return name
    found = re.search(r"OP_([A-Z][A-Za-z]*?)I", name) or re.search(r"(?i)(transpose)", name)
    return found[1] if found else f"{what} {name}".strip()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", architectures.NAMES)
def test_every_operator_of_known_networks_is_the_providers(queue, monkeypatch, name, precision):
    monkeypatch.setattr(sessions._Bound, "run", lambda self: None)  # sessions are made, nothing is computed
    model = prepare(architectures.with_weights(architectures.light(name)))
    types = inferred(model)
    made = [node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Concat", "Conv", "LRN")]
    made = [tensor for tensor in made if len(dims(types[tensor]) or ()) == 4]
    taps = [made[len(made) // 4], made[-1]]
    place, side = Place("cuda", queue, precision), 224 if name in CLOSED else 80
    if precision == "fp16" and name in NOT_SCALED:
        with pytest.raises(Error, match="cannot be scaled to fit"):
            DevicePass(model, taps, (1, 3, side, side), place)
        return
    DevicePass(model, taps, (1, 3, side, side), place)
    features_of(model, taps, np.zeros((1, 3, side, side), np.float32), place)


def test_an_operator_that_it_lacks_is_named(queue):
    nodes = [helper.make_node("Elu", ["x"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    graph = helper.make_graph(nodes, "net", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    for graphs in (True, False):
        with pytest.raises(Error, match=r"^device cuda: ONNX Runtime's provider has no Elu in bf16.*--device cpu"):
            open_session(model, Place("cuda", queue, "bf16", graphs))


def test_a_whole_run_goes_through(queue, monkeypatch):
    """Nothing is said of the picture: the network's kernels do nothing here, and features are what memory holds."""

    def filled(self, shape, kind=np.float32, size=0):
        return self.upload(np.ones(shape, kind))

    monkeypatch.setattr(Queue, "empty", filled)
    monkeypatch.setattr(Queue, "upload", uploaded)
    seen = []
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 12, "content_weight": 0.0}
    result = stylize(nets.blocks(32, 40, 1), nets.blocks(28, 32, 2), device="cuda",
                     callback=lambda progress: seen.append(progress.iteration), **given)  # fmt: skip
    assert seen == list(range(13))
    assert result.picture.shape == (32, 40, 3)
    assert any("emulator (cuda:0" in note for note in result.notes)


def uploaded(self, values):
    made = DeviceArray(self, values.shape, values.dtype, _Block(self.index, values.shape, values.itemsize))
    made.upload(np.ascontiguousarray(values))
    return made


# Our ops, in the provider.


def numbers(shape, seed, dtype):
    values = np.round(np.random.default_rng(seed).standard_normal(shape) * 4) / 4  # ties
    return values.astype(dtype)


def run_op(queue, op, arrays, shape, kind, **words):
    """The op's output for arrays of the host, in the CUDA provider."""
    given = [helper.make_tensor_value_info(f"x{i}", kind, array.shape) for i, array in enumerate(arrays)]
    node = helper.make_node(op, [value.name for value in given], ["y"], domain="stylogram", **words)
    graph = helper.make_graph([node], "op", given, [helper.make_tensor_value_info("y", kind, shape)])
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("stylogram", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    made = queue.empty(shape, arrays[0].dtype)
    bound = {"y": (made, kind), **{f"x{i}": (queue.upload(array), kind) for i, array in enumerate(arrays)}}
    sessions._Bound(model, bound, Place("cuda", queue, graphs=False)).run()
    return made.download()


def test_our_ops_compute_what_onnx_says(queue):
    x, gy = numbers((2, 5, 9, 11), 0, np.float32), numbers((2, 5, 5, 6), 1, np.float32)
    words = {"kernel_shape": [3, 3], "strides": [2, 2], "before": [1, 1], "channels_last": 0}
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], "pool",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, gy.shape)],
        ),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=8,
    )  # fmt: skip
    (pooled,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert (run_op(queue, "CudaMaxPool", [x], gy.shape, TensorProto.FLOAT, sizes=gy.shape[2:], **words) == pooled).all()
    gx = run_op(queue, "CudaMaxPoolGradient", [x, gy], x.shape, TensorProto.FLOAT, positive=1, **words)
    assert gx.sum() == pytest.approx(gy[pooled > 0].sum(), rel=1e-5)
    more = numbers(x.shape, 2, np.float16)
    y, g = numbers(x.shape, 3, np.float16), numbers(x.shape, 4, np.float16)
    gx = run_op(queue, "CudaReluGradient", [y, g, more], x.shape, TensorProto.FLOAT16)
    assert (gx == np.where(y > 0, g + more, 0)).all()
    assert (run_op(queue, "CudaReluGradient", [y, g], x.shape, TensorProto.FLOAT16) == np.where(y > 0, g, 0)).all()


def test_the_ops_refuse_other_types(queue):
    with pytest.raises(Exception, match="float32, float16 and bfloat16 are accepted"):
        run_op(queue, "CudaReluGradient", [np.ones((2, 3)), np.ones((2, 3))], (2, 3), onnx.TensorProto.DOUBLE)
