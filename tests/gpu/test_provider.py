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
from collections.abc import Callable
from functools import partial

import architectures
import numpy as np
import onnx
import onnxruntime
import pytest
from gpu.ops import numbers, run_op
from gpu.recorded import CLOSED, FORBIDDEN, NOT_SCALED, SHAPE, filled, narrow_pass, taken, two_taps, uploaded
from gpu.test_runs import CLOSE, compare, losses
from onnx import TensorProto, helper
from stylogram import devices, pictures, stylize
from stylogram.batching import batch
from stylogram.devices import sessions
from stylogram.devices.arrays import Queue
from stylogram.devices.graphs import TRIED, Place
from stylogram.devices.sessions import DevicePass, features_of, open_session
from stylogram.errors import Error
from stylogram.objective import Failed
from stylogram_export.network import save
from stylogram_export.precision import PRECISIONS
from stylogram_export.prepare import prepare

from engine import nets

pytestmark = pytest.mark.skipif(
    os.environ.get("STYLOGRAM_TEST_STANDIN") != "1", reason="scripts/standin.sh runs these, on the real provider"
)
TURNS = ("transpose", "Transpose", "cublas cublasSgeam")


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
    forward, backward = counted(lambda: narrow_pass(Place("cuda", queue, precision, layout=layout)))
    assert forward.pop("convolution") == 13  # to conv5_1
    assert forward.pop("Sub") == 1
    assert backward.pop("convolution") == 13
    # The picture is turned where no op of ours casts it, and so is the gradient on it.
    turns = 1 if precision == "tf32" and layout != "first" else 0
    assert sum(forward.pop(name, 0) for name in TURNS) == sum(backward.pop(name, 0) for name in TURNS) == turns
    assert not forward
    assert not backward


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_strides_need_no_casts_and_no_turns(queue, precision):
    """Back through strided convolutions, with channels last: of ONNX Runtime's nothing but what tf32 turns outside."""
    place = Place("cuda", queue, precision, layout="ours")
    for part in counted(lambda: DevicePass(nets.strided().model, ["a", "y"], (1, 3, 33, 46), place)):
        assert part.pop("convolution") == 3
        assert sum(part.pop(name, 0) for name in TURNS) == (1 if precision == "tf32" else 0)  # the picture
        assert not part


def counted(make: Callable[[], DevicePass]) -> tuple[Counter[str], Counter[str]]:
    """What is captured of forward and of backward."""
    taken()
    make()
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


@pytest.mark.parametrize(("precision", "taken_up"), [("tf32", "last"), ("bf16", "first"), ("fp16", "last")])
def test_without_an_engine_for_a_transposed_one_another_layout_is_taken(
    queue, monkeypatch, caplog, precision, taken_up
):
    library, forward, refusals = ctypes.CDLL("libcudnn.so.9"), DevicePass.forward_only, [2]

    def refused(self):
        forward(self)
        library.standin_refuse(refusals.pop() if refusals else 0)

    monkeypatch.setattr(DevicePass, "forward_only", refused)
    made = DevicePass(nets.strided().model, ["a", "y"], (1, 3, 33, 46), Place("cuda", queue, precision))
    assert made.place.layout == taken_up
    assert "CudaConvTranspose] cuDNN has no engine" in caplog.text


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


# Whole passes and runs, with all that is in them computed.


def unprepared():
    """A network whose graph has nothing but convolutions and what our ops take up."""
    return nets.narrow(preprocess="unit")


WAYS = [("fp32", "first"), *((kind, layout) for kind in ("tf32", "bf16", "fp16") for layout in ("ours", "first"))]


def ways(*shapes):
    """Precisions and layouts of which everything is computed here. Of tf32 ONNX Runtime turns pictures: one by
    cuBLAS, a batch by a kernel of its own."""
    return [(*way, shape) for shape in shapes for way in WAYS if way != ("tf32", "ours") or shape[0] == 1]


@pytest.mark.parametrize(("precision", "layout", "shape"), ways((1, 3, 16, 24), (2, 3, 17, 23)))
def test_a_pass_computes_what_the_cpu_does(queue, computing, precision, layout, shape):
    network = unprepared()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1", "conv4_2")]
    gpu = compare(network, taps, shape, Place("cuda", queue, precision, graphs=False, layout=layout), 1)
    narrow = {"bf16": np.uint16, "fp16": np.float16}.get(precision, np.float32)
    for tap in taps:
        there, back = gpu.taps_on_gpu[tap], gpu.gradients_on_gpu[tap]  # as the network has them, if it has them last
        assert there.channels_last == back.channels_last == (layout != "first")
        assert there.array.dtype == (narrow if there.channels_last else np.float32)
        assert back.array.dtype == (np.uint16 if there.channels_last and precision == "bf16" else np.float32)


@pytest.mark.parametrize(
    ("precision", "layout", "shape"),
    [way for way in ways((1, 3, 33, 46), (2, 3, 32, 47)) if way[:2] != ("bf16", "first")],  # ONNX Runtime's Casts
)
def test_so_it_does_with_strides(queue, computing, precision, layout, shape):
    compare(nets.strided(), ["a", "y"], shape, Place("cuda", queue, precision, graphs=False, layout=layout), 1)


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
