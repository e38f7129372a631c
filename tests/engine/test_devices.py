"""Runs on a GPU, emulated: our kernels by the emulator, the network by ONNX Runtime's CPU on the same memory."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from kernels import emulated
from onnx import TensorProto, helper
from stylogram import _core, devices, memory, painting, stylize
from stylogram.devices import graphs, library, sessions, tensorrt
from stylogram.devices.arrays import Queue
from stylogram.devices.course import AHEAD, DeviceObjective
from stylogram.devices.features import DeviceFeatures
from stylogram.devices.graphs import Place
from stylogram.devices.sessions import DevicePass
from stylogram.devices.terms import moved
from stylogram.driver import Diverged
from stylogram.errors import Error
from stylogram.losses import content, style, tv
from stylogram.objective import Failed
from stylogram.options import checked
from stylogram.session import FeaturePass
from stylogram.tasks.stylize import Options, Stylization
from stylogram_export.network import folded

from engine import nets


@pytest.fixture(scope="module")
def queue(pytestconfig) -> Queue:
    return emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))


@pytest.fixture
def place(queue, monkeypatch) -> Place:
    """`--device cuda` is the emulated GPU, with the network in ONNX Runtime's CPU."""
    made = Place("host", queue)
    monkeypatch.setattr(devices, "_on_gpu", lambda name, index, precision: devices.Choice(made, "emulated"))
    return made


CONTENT, STYLE = nets.blocks(32, 40, 1), nets.blocks(28, 32, 2)


def painted(device, **more):
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 5, "threads": 1, **more}
    return stylize(CONTENT, STYLE, device=device, **given)


def losses(result):
    return np.array([row["loss"] for row in result.trace])


def test_a_pass_is_the_cpus(place):
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv4_2")]
    shape = (2, 3, 32, 48)
    cpu = FeaturePass(folded(network, taps), taps, shape, threads=1, convolution="direct")
    gpu = DevicePass(folded(network, taps), taps, shape, place)
    cpu.picture[:] = gpu.picture[:] = np.random.default_rng(0).random(shape, np.float32)
    cpu.forward()
    gpu.forward()
    for tap in taps:
        assert np.allclose(gpu.features[tap], cpu.features[tap], rtol=1e-5, atol=1e-5)
        cpu.gradients[tap][:] = np.random.default_rng(1).standard_normal(cpu.gradients[tap].shape, np.float32)
        nets.put(gpu.gradients_on_gpu[tap], cpu.gradients[tap])
    cpu.backward()
    gpu.backward()
    got = gpu.gradient_on_gpu.download()
    assert np.linalg.norm(got - cpu.gradient) < 1e-5 * np.linalg.norm(cpu.gradient)


@pytest.mark.parametrize(
    "more",
    [
        {"precondition": 1.0},
        {"precondition": 2.0},
        {"optimizer": "adam"},
        {"optimizer": "sgd", "learning_rate": 0.01},
        {"preset": "tutorial", "iterations": 3},
        {"scales": 2, "iterations": 3},
    ],
)
def test_a_run_is_the_cpus(place, more, monkeypatch):
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")
    ours, cpu = painted("cuda", **more), painted("cpu", **more)
    assert len(ours.trace) == len(cpu.trace)
    # L-BFGS magnifies a rounding from step to step; the first ones must agree, the last ones be as good.
    assert np.allclose(losses(ours)[:4], losses(cpu)[:4], rtol=2e-3)
    assert losses(ours)[-1] == pytest.approx(losses(cpu)[-1], rel=0.05)
    assert np.abs(ours.picture.astype(float) - cpu.picture).mean() < 3  # of 255
    assert "emulated" in ours.notes


def test_a_mask_and_two_styles_run_too(place):
    half = np.zeros((32, 40), np.float32)
    half[:, :20] = 1
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 2, "mask": ((half, half[:28, :32]),)}
    ours, cpu = (stylize(CONTENT, [STYLE, CONTENT], device=device, **given) for device in ("cuda", "cpu"))
    assert np.allclose(losses(ours), losses(cpu), rtol=1e-2)


def test_no_threads_are_started_for_a_gpus_sessions(place):
    network = nets.narrow()
    made = DevicePass(folded(network, ["conv1_1"]), ["conv1_1"], (1, 3, 32, 48), place)
    assert made._forward._session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("styles", "sessions_made"),
    [([CONTENT[::-1]], 2), ([CONTENT[::-1], CONTENT[:, ::-1] ** 2], 2), ([CONTENT[::-1], STYLE], 4)],
)
def test_styles_of_the_pictures_shape_go_through_its_sessions(place, monkeypatch, styles, sessions_made):
    made, inner = [], sessions.open_session

    def counted(model, place):
        made.append(model)
        return inner(model, place)

    monkeypatch.setattr(sessions, "open_session", counted)
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")
    given = {"network": nets.narrow(), "size": 40, "scales": 1, "iterations": 2}
    ours = stylize(CONTENT, styles, device="cuda", **given)
    assert len(made) == sessions_made
    assert np.allclose(losses(ours), losses(stylize(CONTENT, styles, device="cpu", **given)), rtol=1e-3)


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_tensorrts_graphs_alone_hold_their_constants(place, monkeypatch, kind):
    seen = []

    def stopped(data, *_, **__):
        seen.append(onnx.load_from_string(data))
        raise RuntimeError("stop")

    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", stopped)
    monkeypatch.setattr(tensorrt, "is_built", lambda *_: True)
    monkeypatch.setattr(tensorrt, "options", lambda *_: {})
    network = nets.narrow()
    with pytest.raises(Failed, match="stop"):
        DevicePass(folded(network, ["conv5_1"]), ["conv5_1"], (1, 3, 32, 48), Place(kind, place.queue))
    inside = {tensor.name: len(tensor.raw_data) > 0 for tensor in seen[0].graph.initializer}
    assert inside["conv5_1.weight"] == (kind == "tensorrt")


def test_constants_are_let_go_when_the_last_sessions_are_there(place):
    work = Stylization(CONTENT, [STYLE], checked(Options, {"network": nets.narrow(), "size": 40, "device": "cuda"}))
    before = None
    for index in range(len(work.sizes)):
        assert len(work._constants) > 0
        stage = work.stage(index, before)
        stage.objective.evaluate()  # with the constants that its sessions keep
        before = stage.best.picture
    assert len(work._constants) == 0
    assert np.isfinite(stage.objective.total).all()


@pytest.mark.parametrize(
    ("precision", "given", "wanted"),
    [("fp32", None, "float32"), ("tf32", None, "float32"), ("bf16", None, "float16"), ("fp16", None, "float16"),
     ("bf16", "float32", "float32"), ("tf32", "float16", "float16")],
)  # fmt: skip
def test_pairs_of_lbfgs_are_as_narrow_as_the_network(precision, given, wanted):
    network = nets.narrow()
    given = {"network": network, "precision": precision, "history_precision": given}
    recipe = checked(Options, given).recipe()
    assert recipe.optimiser.history_precision == wanted
    model = folded(network, ["conv1_1"])
    whole = replace(recipe, optimiser=replace(recipe.optimiser, history_precision="float32"))
    sizes = [memory.bytes_a_picture(model, ["conv1_1"], (64, 64), one) for one in (recipe, whole)]
    assert (sizes[0] < sizes[1]) == (wanted == "float16")


def test_losses_of_several_pictures_become_one(place):
    """A batch's terms on the GPU: joined where they are alike, one by one where they are not; as on the CPU."""
    n, shape = 2, (2, 5, 6, 8)
    rng = np.random.default_rng(0)
    features, picture = rng.random(shape, np.float32), rng.random((n, 3, 9, 7), np.float32)
    for alike in (True, False):
        mask = None if alike else rng.random(48, np.float32)
        counts = [1 if alike else at + 1 for at in range(n)]
        given = {"weight": 1.0, "normalization": "relative", "pixels": 9, "mask": mask}
        square = rng.random((1, 5, 5), np.float32)
        targets = [[[(square + square.transpose(0, 2, 1), 1.0 + at)] for at in range(count)] for count in counts]
        styles = [[style.Term("l", "t", (1, *shape[1:]), one, **given) for one in own] for own in targets]
        contents = [[content.Term("l", "t", [rng.random(shape[1:], np.float32)], 2.0, "relative")] for _ in range(n)]
        smooth = [tv.Term((1, 3, 9, 7), 1.0 if alike else 1.0 + at) for at in range(n)]
        results = []
        for on_gpu in (False, True):
            terms = [painting._Together(styles), painting._Together(contents)]
            regular = painting._PicturesTogether("tv", smooth)
            arrays = [features, np.zeros(shape, np.float32), np.zeros(n), picture, np.zeros_like(picture)]
            if on_gpu:
                arrays = [place.queue.upload(array) for array in arrays]
                arrays[:2] = [DeviceFeatures(array) for array in arrays[:2]]
                terms = [moved(copy.deepcopy(term), place.queue, {"t": arrays[0]}) for term in terms]
                regular = moved(regular, place.queue)
            values, gradient, total, shown, slope = *arrays[:3], *arrays[3:]
            for number, term in enumerate(terms):
                term.add(values, gradient, number > 0, total)
            regular.add(shown, slope, total)
            made = (gradient, total, slope)
            results.append([array.download() for array in made] if on_gpu else made)
        for cpu, gpu in zip(*results, strict=True):
            assert np.allclose(cpu, gpu, rtol=1e-5, atol=1e-7)


def test_a_callback_sees_every_iteration_and_may_look(place):
    seen, pictures = [], []

    def look(progress):
        seen.append(progress.iteration)
        if progress.iteration in (0, 1, AHEAD):
            pictures.append((progress.rgb(), progress.result().picture))

    painted("cuda", iterations=13, callback=look)
    assert seen == list(range(14))
    assert all(np.isfinite(shown).all() and np.isfinite(best).all() for shown, best in pictures)


def test_the_gpu_has_work_while_the_host_is_told(place, monkeypatch):
    step, steps, told = DeviceObjective._iterate, [], {}

    def counted(self):
        steps.append(1)
        step(self)

    monkeypatch.setattr(DeviceObjective, "_iterate", counted)
    painted("cuda", iterations=25, callback=lambda progress: told.setdefault(progress.iteration, len(steps)))
    assert (told[0], told[1], told[AHEAD], told[AHEAD + 1], told[25]) == (1 + AHEAD, 1 + 2 * AHEAD, 21, 26, 26)


def test_a_gpu_that_breaks_leaves_the_best_so_far(place, monkeypatch):
    run, calls = DevicePass.backward, []

    def breaking(self):
        calls.append(1)
        if len(calls) > 14:
            raise RuntimeError("[lbfgs] out of memory on the GPU: 900 MiB were needed, 3 of 8192 MiB are free")
        run(self)

    monkeypatch.setattr(DevicePass, "backward", breaking)
    with pytest.raises(Diverged, match=r"900 MiB were needed.*a smaller --size") as caught:
        painted("cuda", iterations=16)
    assert caught.value.result.picture.shape == (32, 40, 3)
    assert len(caught.value.result.trace) == 1 + AHEAD


def test_too_little_memory_is_one_clear_line(place, monkeypatch):
    monkeypatch.setenv("STYLOGRAM_EMULATED_MEMORY", "20000000")
    with pytest.raises(Error, match=r"the GPU's memory does not suffice: \d+ MiB were needed"):
        painted("cuda", size=256)


def test_a_loss_without_a_kernel_is_one_clear_line(place):
    class Term:
        name, tap = "mine", "y"

    with pytest.raises(Error, match="mine: this loss has no kernel for a GPU; --device cpu is accepted"):
        moved(Term(), place.queue)


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "unknown device 'gpu'"), ("cpu:1", "unknown device 'cpu:1'"), ("cuda:x", "cuda:N"), (3, "unknown device")],
)
def test_an_unknown_device_is_one_clear_line(device, message):
    with pytest.raises(Error, match=message):
        devices.check_device(device)


@pytest.mark.parametrize(
    ("driver", "message"), [("none", "the NVIDIA driver sees no GPU"), ("old", "driver")], ids=["none", "old"]
)
def test_a_driver_that_is_not_there_is_one_clear_line(queue, driver, message, monkeypatch):
    monkeypatch.setenv("STYLOGRAM_EMULATED_DRIVER", driver)
    with pytest.raises(Error, match=f"device cuda: .*{message}"):
        library.gpus()
    choice = devices.choose("auto")
    assert choice.place is None
    assert choice.note.startswith("device auto: runs on the CPU; device cuda: ")


def test_a_gpu_that_is_not_there_is_one_clear_line(queue):
    with pytest.raises(Error, match=r"there is no cuda:7; accepted here: cuda:0 \(emulator\)"):
        library.gpu(7)


def test_without_the_providers_the_line_that_installs_them_is_given(queue):
    if sessions.CUDA in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(Error, match=r"built without CUDA: pip uninstall -y onnxruntime; pip install"):
        devices.choose("cuda")
    assert "stylogram[tensorrt]" in tensorrt.missing()


def test_libraries_that_are_missing_are_named_with_the_line_that_installs_them(monkeypatch):
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: [sessions.CUDA])
    monkeypatch.setattr(sessions, "LIBRARIES", ("libcudnn.so.99",))
    sessions._load.cache_clear()
    assert sessions.missing() == f"libcudnn.so.99 cannot be loaded: {sessions.PIP_LIBRARIES}"
    sessions._load.cache_clear()


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([], "TensorRT 10 is not found (libnvinfer.so.10): "),
        (["libnvinfer.so.11"], "TensorRT 10 is needed (libnvinfer.so.10), and libnvinfer.so.11 is installed: "),
    ],
)
def test_tensorrt_that_is_missing_or_another_is_one_clear_line(monkeypatch, tmp_path, there, message):
    for name in there:
        (tmp_path / name).touch()
    monkeypatch.setattr(tensorrt.onnxruntime, "get_available_providers", lambda: [tensorrt.PROVIDER])
    monkeypatch.setattr(tensorrt, "_folder", lambda: tmp_path)
    monkeypatch.setattr(tensorrt.ctypes, "CDLL", not_there)
    tensorrt._load.cache_clear()
    assert tensorrt.missing() == message + tensorrt.PIP
    tensorrt._load.cache_clear()


def not_there(name, mode):
    raise OSError(name)


@pytest.mark.parametrize(("version", "there"), [(100900, "10.9"), (101399, "10.13"), (101400, ""), (101502, "")])
def test_a_tensorrt_older_than_the_provider_is_one_clear_line(monkeypatch, version, there):
    library = SimpleNamespace(getInferLibVersion=lambda: version)
    monkeypatch.setattr(tensorrt.onnxruntime, "get_available_providers", lambda: [tensorrt.PROVIDER])
    monkeypatch.setattr(tensorrt.ctypes, "CDLL", lambda name, mode: library)
    tensorrt._load.cache_clear()
    said = f"TensorRT 10.14 or a later 10 is needed, and {there} is installed: {tensorrt.PIP}"
    assert tensorrt.missing() == (said if there else "")
    tensorrt._load.cache_clear()


def test_tensorrt_gets_no_operator_that_works_on_float32_alone_around_a_narrow_network():
    half, wide = TensorProto.FLOAT16, TensorProto.FLOAT
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=half),
        helper.make_node("Mul", ["b", "b"], ["c"]),
        helper.make_node("Cast", ["c"], ["d"], to=wide),
        helper.make_node("Mul", ["d", "x"], ["y"]),
    ]
    given, made = (helper.make_tensor_value_info(name, wide, [1, 3, 4, 4]) for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "net", [given], [made]))
    assert tensorrt.around(model) == ("Cast", "Sub", "Add", "Div", "Identity")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrts_graphs_have_a_name_for_each_node(queue, precision):
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1")]
    model, place = folded(network, taps), Place("tensorrt", queue, precision)
    pair = graphs.derivative_for(model, taps, (1, 3, 32, 48), "gradient", place)
    for graph in (pair.forward.graph, pair.backward.graph):
        names = [node.name for node in graph.node]
        assert all(names)
        assert len(set(names)) == len(names)


def test_narrow_numbers_need_a_gpu():
    with pytest.raises(Error, match="precision bf16: on the CPU fp32 is accepted"):
        devices.choose("cpu", "bf16")


def test_the_options_of_the_providers_are_what_the_run_needs(queue):
    given = sessions.cuda_options(Place("cuda", queue, "fp32"))
    assert given["use_tf32"] == "0"
    assert given["user_compute_stream"] == str(queue.handle)
    assert given["enable_cuda_graph"] == "1"
    assert sessions.cuda_options(Place("tensorrt", queue, "tf32"))["enable_cuda_graph"] == "0"


def test_an_engine_is_kept_for_its_graph_precision_and_version(queue, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt, "cache_directory", lambda: tmp_path)
    given = tensorrt.options(0, queue.handle, "bf16", b"graph")
    assert (given["trt_bf16_enable"], given["trt_fp16_enable"]) == ("True", "False")
    assert given["trt_engine_cache_path"].startswith(str(tmp_path))
    keys = {tensorrt.key(b"graph", "bf16"), tensorrt.key(b"graph", "fp16"), tensorrt.key(b"other", "bf16")}
    assert len(keys) == 3
    assert not tensorrt.is_built(b"graph", "bf16")
    (tensorrt.engines() / f"{tensorrt.key(b'graph', 'bf16')}_sm90.engine").touch()
    assert tensorrt.is_built(b"graph", "bf16")


def test_an_array_goes_to_other_programs_without_a_copy(queue):
    torch = pytest.importorskip("torch")
    array = queue.upload(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert array.__dlpack_device__() == (2, 0)
    assert array.__cuda_array_interface__["shape"] == (2, 3)
    capsule = array.__dlpack__()
    assert "dltensor" in repr(capsule)
    del capsule, torch
    assert _core.cuda_kernels()
