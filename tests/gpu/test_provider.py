"""What ONNX Runtime's CUDA provider makes of our graphs, without a GPU: see standin/ and scripts/standin.sh.

The provider is the real one. Its kernels are not run, and neither are cuDNN's: nothing is said of their numbers. But
our own ops run in the emulator, the stand-in computes convolutions if it is asked to, and a network without
preprocessing needs nothing else: so whole passes, and whole runs, are held against the CPU.
"""

import ctypes
import json
import os
import re
from collections import Counter
from functools import partial

import architectures
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gpu.recorded import CLOSED, FORBIDDEN, NOT_SCALED, SHAPE, filled, narrow_pass, taken, two_taps, uploaded
from gpu.test_runs import CLOSE, losses
from kernels import emulated
from kernels.test_cuda_ops import CONVOLUTIONS, convolved
from onnx import TensorProto, helper
from stylogram import devices, pictures, stylize
from stylogram.batching import batch
from stylogram.devices import sessions
from stylogram.devices.arrays import Queue
from stylogram.devices.sessions import TRIED, DevicePass, Place, features_of, open_session
from stylogram.errors import Error
from stylogram.objective import Failed
from stylogram.session import FeaturePass
from stylogram_export.network import folded, save
from stylogram_export.precision import PRECISIONS
from stylogram_export.prepare import prepare

from engine import nets

pytestmark = pytest.mark.skipif(
    os.environ.get("STYLOGRAM_TEST_STANDIN") != "1", reason="scripts/standin.sh runs these, on the real provider"
)
TURNS = ("transpose", "Transpose", "cublas cublasSgeam")


@pytest.fixture(scope="module")
def queue(pytestconfig) -> Queue:
    made = emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
    assert not sessions.missing()
    return made


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


@pytest.mark.parametrize(("precision", "layout"), [(kind, layout) for kind in PRECISIONS for layout in TRIED[kind]])
def test_convolutions_take_their_biases_and_nothing_is_done_twice(queue, precision, layout):
    """One launch a convolution; the rest is ours, which is not written down, and preprocessing."""
    forward, backward = counted(Place("cuda", queue, precision, layout=layout))
    assert forward.pop("convolution") == 13  # to conv5_1
    assert forward.pop("Sub") == 1
    assert backward.pop("convolution") == 13
    # The picture is turned where no op of ours casts it, and so is the gradient on it.
    turns = 1 if precision == "tf32" and layout != "first" else 0
    assert sum(forward.pop(name, 0) for name in TURNS) == sum(backward.pop(name, 0) for name in TURNS) == turns
    assert not forward
    assert not backward


def counted(place: Place) -> tuple[Counter[str], Counter[str]]:
    """What is captured of forward and of backward."""
    taken()
    narrow_pass(place)
    done = taken()
    ends = [at for at, line in enumerate(done) if line[1] == "graph"]
    assert len(ends) == 2
    parts = done[: ends[0]], done[ends[0] :]
    forward, backward = (Counter(kind(*line[1:]) for line in part if line[0] == "captured") for part in parts)
    return forward, backward


def test_without_an_engine_for_a_layout_another_is_taken(queue, caplog):
    library = ctypes.CDLL("libcudnn.so.9")
    # How often cuDNN is asked before a layout is given up: with the bias, then for the convolution in two ways.
    ours, last = 3, 2
    for precision, refusals, taken_up in (
        ("tf32", ours, "last"), ("tf32", ours + last, "first"), ("bf16", ours, "first"), ("fp16", 1, "ours")
    ):  # fmt: skip
        caplog.clear()
        library.standin_refuse(refusals)
        made = narrow_pass(Place("cuda", queue, precision))
        assert made.place.layout == taken_up
        assert caplog.text.count("another way is tried") == TRIED[precision].index(taken_up)
    for precision, layout, refusals in (("tf32", "ours", ours), ("tf32", "last", last), ("fp32", "", last)):
        library.standin_refuse(refusals)
        with pytest.raises(Failed, match="the GPU failed"):
            narrow_pass(Place("cuda", queue, precision, layout=layout))
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
    taps = two_taps(model)
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
    monkeypatch.setattr(Queue, "empty", filled)
    monkeypatch.setattr(Queue, "upload", uploaded)
    seen = []
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 12, "content_weight": 0.0}
    result = stylize(nets.blocks(32, 40, 1), nets.blocks(28, 32, 2), device="cuda",
                     callback=lambda progress: seen.append(progress.iteration), **given)  # fmt: skip
    assert seen == list(range(13))
    assert result.picture.shape == (32, 40, 3)
    assert any("emulator (cuda:0" in note for note in result.notes)


# Our ops, in the provider.


def numbers(shape, seed, dtype):
    values = np.round(np.random.default_rng(seed).standard_normal(shape) * 4) / 4  # ties
    return values.astype(dtype)


def run_op(queue, op, arrays, shape, kind, **words):
    """The op's output for arrays of the host, in the CUDA provider."""
    node = helper.make_node(op, [f"x{i}" for i in range(len(arrays))], ["y"], domain="stylogram", **words)
    return run_node(queue, node, arrays, shape, kind)


def run_node(queue, node, arrays, shape, kind):
    """The output y of a node that reads x0, x1, ..."""
    given = [helper.make_tensor_value_info(f"x{i}", kind, array.shape) for i, array in enumerate(arrays)]
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


STORED = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


@pytest.fixture
def computing():
    """The stand-in's cuDNN computes what a graph describes."""
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_compute(1)
    yield library
    library.standin_compute(0)
    library.standin_compile(0)


def drawn(shape, seed, stored):
    """Sixteenths, and the same as the type's bits."""
    values = torch.from_numpy(numbers(shape, seed, np.float32) / 4).to(getattr(torch, stored))
    return values.float(), values.view(torch.int16).numpy().view(np.uint16) if stored == "bfloat16" else values.numpy()


def widened(values, stored):
    return (
        torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        if stored == "bfloat16"
        else torch.from_numpy(values)
    )


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_stand_in_computes_onnx_runtimes_own_convolutions(queue, computing, case):
    """What it reads from a graph is what cuDNN's own front end, which ONNX Runtime has built in, means by it."""
    filters, pads, strides, dilations, groups = case
    k, r, s, c = filters
    (x, given), (w, weights) = drawn((2, c * groups, 9, 11), 0, "float32"), drawn((k, c, r, s), 1, "float32")
    expected = convolved(x, w, None, case).numpy()
    node = helper.make_node(
        "Conv", ["x0", "x1"], ["y"], pads=[*pads, *pads], strides=strides, dilations=dilations, group=groups
    )
    assert (run_node(queue, node, [given, weights], expected.shape, TensorProto.FLOAT) == expected).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_our_convolution_with_channels_last(queue, computing, case, stored, compiled):
    """With its bias and its ReLU in cuDNN's graph, and, where that would have to be compiled, behind it."""
    computing.standin_compile(compiled)
    filters, pads, strides, dilations, groups = case
    shapes = [(2, 9, 11, filters[3] * groups), filters, filters[:1]]
    (x, given), (w, weights), (b, bias) = (drawn(shape, seed, stored) for seed, shape in enumerate(shapes))
    words = {"pads": pads, "strides": strides, "dilations": dilations}
    plain = convolved(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), None, case).permute(0, 2, 3, 1)
    for arrays, relu, expected in (
        ([given, weights], 0, plain),
        ([given, weights, bias], 0, plain + b),
        ([given, weights, bias], 1, (plain + b).relu()),
    ):
        taken()
        y = run_op(queue, "CudaConv", arrays, tuple(plain.shape), STORED[stored], relu=relu, **words)
        assert [line[1] for line in taken()].count("cudnn") == 1
        assert torch.equal(widened(y, stored).float(), expected.to(getattr(torch, stored)).float())


def test_our_convolution_refuses(queue):
    x, w, b = np.ones((1, 4, 4, 3), np.float32), np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32)
    words = {"pads": [1, 1], "strides": [1, 1], "dilations": [1, 1], "relu": 1}
    shape = (1, 4, 4, 2)
    for arrays, more, match in (
        ([x, w], {}, "relu asks for a bias"),
        ([x, w[..., :2], b], {}, "weights of 2 channels do not fit x of 3"),
        ([x, w, b[:1]], {}, "bias does not have the shape"),
        ([x, w, b], {"pads": [1, 1, 1, 1]}, "pads must be 2 numbers|buffer"),
        ([x, w, b], {"pads": [0, 0], "dilations": [2, 2]}, "smaller than the filter"),
    ):
        with pytest.raises(Exception, match=match):
            run_op(queue, "CudaConv", arrays, shape, TensorProto.FLOAT, **(words | more))
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_refuse(9)
    with pytest.raises(
        Failed, match=r"cuDNN has no engine for x of \(1,3,4,4\) with its channels last and 2 filters of 3x3"
    ):
        run_op(queue, "CudaConv", [x, w, b], shape, TensorProto.FLOAT, **words)
    library.standin_refuse(0)


def test_the_ops_refuse_other_types(queue):
    with pytest.raises(Exception, match="float32, float16 and bfloat16 are accepted"):
        run_op(queue, "CudaReluGradient", [np.ones((2, 3)), np.ones((2, 3))], (2, 3), onnx.TensorProto.DOUBLE)


# Whole passes and runs, with all that is in them computed.


def unprepared():
    """A network whose graph has nothing but convolutions and what our ops take up."""
    return nets.narrow(preprocess="unit")


@pytest.mark.parametrize("shape", [(1, 3, 16, 24), (2, 3, 17, 23)])
@pytest.mark.parametrize(
    ("precision", "layout"),
    [("fp32", "first"), ("tf32", "first"), ("bf16", "ours"), ("bf16", "first"), ("fp16", "ours"), ("fp16", "first")],
)
def test_a_pass_computes_what_the_cpu_does(queue, computing, precision, layout, shape):
    network = unprepared()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1", "conv4_2")]
    place = Place("cuda", queue, precision, graphs=False, layout=layout)
    cpu, gpu = FeaturePass(folded(network, taps), taps, shape), DevicePass(folded(network, taps), taps, shape, place)
    cpu.picture[:] = gpu.picture[:] = np.random.default_rng(0).random(shape, np.float32)
    cpu.forward()
    gpu.forward()
    features, gradient = CLOSE[precision]
    narrow = {"bf16": np.uint16, "fp16": np.float16}.get(precision, np.float32)
    for tap in taps:
        there, back = gpu.taps_on_gpu[tap], gpu.gradients_on_gpu[tap]  # as the network has them, if it has them last
        assert there.channels_last == back.channels_last == (layout != "first")
        assert there.array.dtype == (narrow if there.channels_last else np.float32)
        assert back.array.dtype == (np.uint16 if there.channels_last and precision == "bf16" else np.float32)
        assert np.linalg.norm(gpu.features[tap] - cpu.features[tap]) < features * np.linalg.norm(cpu.features[tap])
        cpu.gradients[tap][:] = np.random.default_rng(1).standard_normal(cpu.gradients[tap].shape, np.float32)
        nets.put(gpu.gradients_on_gpu[tap], cpu.gradients[tap])
    cpu.backward()
    gpu.backward()
    got = gpu.gradient_on_gpu.download()
    assert np.linalg.norm(got - cpu.gradient) < gradient * np.linalg.norm(cpu.gradient)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_is_the_cpus(queue, computing, monkeypatch, precision):
    monkeypatch.setattr(devices, "Place", partial(Place, graphs=False))  # what the stand-in replays does nothing
    given = {"network": unprepared(), "size": 24, "scales": 1, "iterations": 12, "content_weight": 1.0}
    ours, cpu = (
        losses(stylize(nets.blocks(16, 24, 1), nets.blocks(20, 16, 2), **given, **where))
        for where in ({"device": "cuda", "precision": precision}, {"device": "cpu"})
    )
    assert len(ours) == len(cpu)
    same = 12 if precision == "fp32" else 2  # rounding soon leads elsewhere, though not to worse
    assert ours[:same] == pytest.approx(cpu[:same], rel=CLOSE[precision][0])
    assert ours[-1] < 0.5 * ours[0]
    assert ours[-1] == pytest.approx(cpu[-1], rel=0.05)


def written(folder, monkeypatch, count):
    """Rows of contents of one shape in two styles, and the options of them all."""
    monkeypatch.chdir(folder)
    save(unprepared(), folder / "net.onnx")
    for number in range(count):
        pictures.write(folder / f"c{number}.png", nets.blocks(16, 24, number))
        pictures.write(folder / f"s{number}.png", nets.blocks(20, 16, 10 + number))
    rows = [{"content": f"c{k}.png", "style": f"s{k % 2}.png", "output": f"{k}.png"} for k in range(count)]
    return rows, {"network": "net.onnx", "size": 24, "scales": 1, "iterations": 6, "content_weight": 1.0}


def test_a_batch_is_the_cpus(queue, computing, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "Place", partial(Place, graphs=False))
    rows, given = written(tmp_path, monkeypatch, 2)
    found = {}
    for where in ({"device": "cuda", "precision": "fp16"}, {"device": "cpu"}):
        assert batch(rows, output=where["device"], **given, **where).done == 2
        lines = (tmp_path / where["device"] / "results.jsonl").read_text().splitlines()
        found[where["device"]] = {line["output"]: line["loss"] for line in map(json.loads, lines)}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.05)


def test_groups_of_a_batch_replay_what_was_captured_once(queue, monkeypatch, tmp_path):
    monkeypatch.setattr(Queue, "empty", filled)
    monkeypatch.setattr(Queue, "upload", uploaded)
    rows, given = written(tmp_path, monkeypatch, 4)
    taken()
    made = batch(rows, output="out", device="cuda", precision="fp16", batch=2, **{**given, "content_weight": 0.0})
    assert made.done == 4
    done = taken()
    captured = [line for line in done if line[:2] == ("captured", "cudnn")]
    assert len(captured) == 2 * 13  # of one pass
    assert len([line for line in done if line[1] == "graph"]) >= 2 * 2 * given["iterations"]
