"""What ONNX Runtime's TensorRT provider makes of our graphs, without a GPU: see standin/ and scripts/standin.sh.

The provider is the real one, TensorRT is not: its stand-in takes the operators that TensorRT's parser is documented to
take, builds engines that compute nothing, and writes down what it was told.
"""

import ctypes
import os

import architectures
import numpy as np
import onnxruntime
import pytest
from gpu.recorded import CLOSED, FORBIDDEN, NOT_SCALED, SHAPE, filled, narrow_pass, taken, two_taps, uploaded
from kernels import emulated
from onnx import TensorProto, helper
from stylogram import _core, stylize
from stylogram.devices import sessions, tensorrt
from stylogram.devices.arrays import Queue
from stylogram.devices.graphs import Place, derivative_for
from stylogram.devices.sessions import DevicePass, features_of, open_session
from stylogram.errors import Error
from stylogram_export.network import folded
from stylogram_export.precision import PRECISIONS
from stylogram_export.prepare import prepare

from engine import nets

pytestmark = pytest.mark.skipif(
    os.environ.get("STYLOGRAM_TEST_STANDIN") != "1", reason="scripts/standin.sh runs these, on the real provider"
)
#: What TensorRT is told, and what it is given and gives: with narrow numbers, nothing but these.
TOLD = {
    "fp32": "weakly typed: float -> float",
    "tf32": "weakly typed tf32: float -> float",
    "bf16": "weakly typed tf32 bf16: bf16 -> bf16",
    "fp16": "weakly typed tf32 fp16: half -> half",
}
MINUTES = "TensorRT builds an engine"
LOST = "in the cache cannot be read, and is built again"


@pytest.fixture(scope="module")
def queue(pytestconfig) -> Queue:
    made = emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
    assert (sessions.missing(), tensorrt.missing()) == ("", "")
    return made


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty one, and nothing written down."""
    monkeypatch.setattr(tensorrt, "cache_directory", lambda: tmp_path)
    if onnxruntime.get_available_providers()[0] == tensorrt.PROVIDER:
        taken()
    return tmp_path / "tensorrt"


@pytest.fixture
def capturing(monkeypatch):
    """Graphs of the stand-in's, in which ONNX Runtime's launches are; the emulator's have our kernels alone."""
    runtime, pointer = ctypes.CDLL("libcudart.so.13"), ctypes.c_void_p

    def end(stream):
        graph = pointer()
        runtime.cudaStreamEndCapture(pointer(stream), ctypes.byref(graph))
        return graph.value

    monkeypatch.setattr(_core, "cuda_begin_capture", lambda s: runtime.cudaStreamBeginCapture(pointer(s), 1))
    monkeypatch.setattr(_core, "cuda_end_capture", end)
    monkeypatch.setattr(_core, "cuda_run_graph", lambda g, s: runtime.cudaGraphLaunch(pointer(g), pointer(s)))
    monkeypatch.setattr(_core, "cuda_free_graph", lambda graph: None)


def builds(done) -> list[str]:
    return [line[3] for line in done if line[1] == "tensorrt builds"]


def lacks(done) -> list[str]:
    """What ONNX Runtime asked of TensorRT that the stand-in has not, and runs with something unbound."""
    return [line[3] for line in done if line[1] == "tensorrt lacks" or line[3] == "unbound"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_graph_is_one_engine_that_is_captured_and_replayed(queue, capturing, precision):
    network = narrow_pass(Place("tensorrt", queue, precision))
    done = taken()
    assert builds(done) == [TOLD[precision]] * 2
    assert not lacks(done)
    captured = [line for line in done if line[0] == "captured"]
    assert [line[1:] for line in captured if line[1] == "tensorrt"] == [("tensorrt", hex(queue.handle), "engine")] * 2
    assert not [line for line in captured if line[1] in FORBIDDEN]
    assert {line[2] for line in captured} == {hex(queue.handle)}
    for run in (network.forward_only, network.backward):
        run()
        assert [line[1] for line in taken()] == ["graph"]  # nobody waits


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_left_for_cuda_is_what_stays_float32(queue, capturing, precision):
    """Preprocessing; and our casts of the taps and of their gradients, which nobody writes down."""
    narrow_pass(Place("tensorrt", queue, precision))
    captured = [line[3] for line in taken() if line[0] == "captured" and line[1] != "tensorrt"]
    assert ["OP_SubI" in name for name in captured] == ([True] if precision in ("bf16", "fp16") else [])


def test_a_network_that_cannot_be_captured_runs_without(queue, monkeypatch, caplog):
    def refused(stream):
        raise RuntimeError("operation not permitted")

    monkeypatch.setattr(_core, "cuda_begin_capture", refused)
    network = narrow_pass(Place("tensorrt", queue))
    assert "runs without a CUDA graph, which is slower" in caplog.text
    taken()
    network.forward_only()
    assert [line[1] for line in taken()] == ["tensorrt"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", architectures.NAMES)
def test_known_networks_are_one_engine_each_way(queue, name, precision):
    model = prepare(architectures.with_weights(architectures.light(name)))
    taps, shape = two_taps(model), (1, 3, *(2 * [224 if name in CLOSED else 80]))
    place = Place("tensorrt", queue, precision)
    if precision == "fp16" and name in NOT_SCALED:
        with pytest.raises(Error, match="cannot be scaled to fit"):
            DevicePass(model, taps, shape, place)
        return
    DevicePass(model, taps, shape, place)
    done = taken()
    assert builds(done) == [TOLD[precision]] * 2
    assert not lacks(done)
    assert not [line for line in done if line[1] in ("cudnn", "cublas")]
    if precision in ("fp32", "tf32"):
        assert not [line for line in done if line[1] == "kernel"]


def test_an_engine_is_built_once(queue, cache, caplog):
    place = Place("tensorrt", queue, "fp16")
    first = derivative_for(*narrow_graph(), SHAPE, "gradient", place).forward
    data = first.SerializeToString()
    assert not tensorrt.is_built(data, "fp16")
    open_session(first, place)
    assert len(builds(taken())) == 1
    assert caplog.text.count(MINUTES) == 1
    assert tensorrt.is_built(data, "fp16")
    names = sorted(path.name for path in cache.iterdir())
    assert len(names) == 2
    assert [name.startswith(tensorrt.key(data, "fp16")) for name in names if name.endswith(".engine")] == [True]
    assert [name for name in names if name.endswith("_sm90.timing")]
    caplog.clear()
    session = open_session(first, place)
    assert session.get_providers()[0] == tensorrt.PROVIDER
    assert (builds(taken()), caplog.text) == ([], "")


def narrow_graph():
    network = nets.narrow()
    taps = [network.layers.tensor("conv4_2")]
    return folded(network, taps), taps


def test_other_precisions_and_shapes_are_built_anew(queue):
    for precision in ("fp32", "tf32", "bf16"):
        narrow_pass(Place("tensorrt", queue, precision))
        assert len(builds(taken())) == 2
    narrow_pass(Place("tensorrt", queue), (2, *SHAPE[1:]))
    assert len(builds(taken())) == 2
    narrow_pass(Place("tensorrt", queue))
    assert not builds(taken())


def test_an_engine_that_is_cut_off_is_built_again(queue, cache, caplog):
    place = Place("tensorrt", queue)
    model = derivative_for(*narrow_graph(), SHAPE, "gradient", place).forward
    open_session(model, place)
    (path,) = cache.glob("*.engine")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    taken()
    open_session(model, place)
    assert len(builds(taken())) == 1
    assert LOST in caplog.text
    assert path.read_bytes() == whole


def test_targets_need_no_engine(queue):
    model, taps = narrow_graph()
    features_of(model, taps, np.zeros(SHAPE, np.float32), Place("tensorrt", queue, "bf16"))
    done = taken()
    assert not builds(done)
    assert [line for line in done if line[1] == "cudnn"]


def test_tf32_is_switched_off_for_the_time_of_the_building_alone(queue, monkeypatch):
    for before in (None, "1"):
        if before is None:
            monkeypatch.delenv(tensorrt.NO_TF32, raising=False)
        else:
            monkeypatch.setenv(tensorrt.NO_TF32, before)
        with tensorrt.building("fp32"):
            assert os.environ[tensorrt.NO_TF32] == "0"
        assert os.environ.get(tensorrt.NO_TF32) == before


def test_an_operator_that_none_has_is_one_clear_line(queue):
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 8, 8])]
    made = [helper.make_tensor_value_info("b", TensorProto.FLOAT, [3])]
    nodes = [helper.make_node("Relu", ["x"], ["a"], "kept"), helper.make_node("Det", ["a"], ["b"], "odd")]
    graph = helper.make_graph(nodes, "net", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(Error, match=r"^device tensorrt: ONNX Runtime's provider has no Det in fp32.*--device cpu"):
        open_session(model, Place("tensorrt", queue))


def test_a_whole_run_goes_through(queue, monkeypatch):
    """Nothing is said of the picture: engines compute nothing here, and features are what memory holds."""
    monkeypatch.setattr(Queue, "empty", filled)
    monkeypatch.setattr(Queue, "upload", uploaded)
    seen = []
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 12, "content_weight": 0.0}
    result = stylize(nets.blocks(32, 40, 1), nets.blocks(28, 32, 2), device="tensorrt",
                     callback=lambda progress: seen.append(progress.iteration), **given)  # fmt: skip
    assert seen == list(range(13))
    assert result.picture.shape == (32, 40, 3)
    assert any("with TensorRT" in note for note in result.notes)
    assert len(builds(taken())) == 2
