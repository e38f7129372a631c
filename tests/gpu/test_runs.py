"""Whole runs on a GPU against the CPU: only where STYLOGRAM_TEST_CUDA=gpu says that there is one."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from stylogram import _core, devices, stylize
from stylogram.devices import sessions, tensorrt
from stylogram.devices.arrays import Queue
from stylogram.devices.sessions import DevicePass
from stylogram.errors import Error
from stylogram.session import FeaturePass
from stylogram_export.network import folded

from engine import nets

pytestmark = [
    pytest.mark.skipif(os.environ.get("STYLOGRAM_TEST_CUDA") != "gpu", reason="STYLOGRAM_TEST_CUDA=gpu asks for a GPU"),
    pytest.mark.skipif(
        sessions.CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime is built without CUDA"
    ),
]
PHOTOGRAPH = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data" / "pictures" / "tubingen.jpg"
CONTENT, STYLE = nets.blocks(96, 128, 1), nets.blocks(100, 90, 2)
#: Of the features and of the gradient: what rounding leaves, with the paths that it opens and closes.
CLOSE = {"fp32": (1e-4, 1e-3), "tf32": (5e-3, 0.1), "bf16": (5e-2, 0.4), "fp16": (1e-2, 0.2)}


def painted(device="cuda", **more):
    given = {"network": nets.narrow(), "size": 128, "scales": 1, "iterations": 30, **more}
    return stylize(CONTENT, STYLE, device=device, **given)


def losses(result):
    return np.array([row["loss"] for row in result.trace])


def skip_without_tensorrt(device):
    if device == "tensorrt" and (sessions.missing() or tensorrt.missing()):
        pytest.skip(tensorrt.missing())


def compare(network, taps, shape, place, runs):
    """A pass of the network on the GPU with one on the CPU. Returns the first."""
    cpu = FeaturePass(folded(network, taps), taps, shape, convolution="direct")
    gpu = DevicePass(folded(network, taps), taps, shape, place)
    cpu.picture[:] = gpu.picture[:] = np.random.default_rng(0).random(shape, np.float32)
    for _ in range(runs):
        gpu.forward()
    cpu.forward()
    features, gradient = CLOSE[place.precision]
    for tap in taps:
        got = gpu.features[tap]
        assert np.linalg.norm(got - cpu.features[tap]) < features * np.linalg.norm(cpu.features[tap]), tap
        cpu.gradients[tap][:] = np.random.default_rng(1).standard_normal(cpu.gradients[tap].shape, np.float32)
        nets.put(gpu.gradients_on_gpu[tap], cpu.gradients[tap])
    cpu.backward()
    for _ in range(runs):
        gpu.backward()
    got = gpu.gradient_on_gpu.download()
    assert np.linalg.norm(got - cpu.gradient) < gradient * np.linalg.norm(cpu.gradient)
    return gpu


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (3, 3, 65, 97)])
def test_a_pass_is_the_cpus(device, precision, shape):
    skip_without_tensorrt(device)
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv2_1", "conv4_2")]
    compare(network, taps, shape, devices.choose(device, precision).place, 3)  # as it is, captured, replayed


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (3, 3, 65, 98)])
def test_so_is_one_with_strides_in_every_layout(precision, shape):
    place = devices.choose("cuda", precision).place
    for layout in place.tried:
        compare(nets.strided(), ["a", "b", "y"], shape, replace(place, layout=layout), 3)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_cudnn_has_convolutions_for_every_layout(precision):
    """Of which the first is what a pass tries first; without them it says so, and takes the next."""
    network = nets.narrow()
    taps = [network.layers.tensor(name) for name in ("conv1_1", "conv4_2")]
    place = devices.choose("cuda", precision).place
    found = []
    for layout in place.tried:
        made = DevicePass(folded(network, taps), taps, (1, 3, 64, 96), replace(place, layout=layout))
        made.picture[:] = np.random.default_rng(0).random(made.picture.shape, np.float32)
        made.forward()
        found.append(made.features["conv4_2"])
    for features in found[:-1]:
        assert np.linalg.norm(features - found[-1]) < CLOSE[precision][0] * np.linalg.norm(found[-1])


@pytest.mark.parametrize(
    "more", [{}, {"precondition": 2.0}, {"optimizer": "adam"}, {"optimizer": "sgd", "learning_rate": 0.01},
             {"preset": "tutorial"}, {"scales": 2}]
)  # fmt: skip
def test_a_run_is_as_good_as_the_cpus(more):
    ours, cpu = painted(**more), painted("cpu", **more)
    assert len(ours.trace) == len(cpu.trace)
    assert np.allclose(losses(ours)[:4], losses(cpu)[:4], rtol=1e-2)
    assert losses(ours)[-1] == pytest.approx(losses(cpu)[-1], rel=0.05)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_the_loss_after_300_iterations_is_within_two_percent(precision):
    best = [losses(painted(iterations=300, precision=kind)).min() for kind in ("fp32", precision)]
    assert best[1] == pytest.approx(best[0], rel=0.02)


@pytest.mark.skipif(not PHOTOGRAPH.exists(), reason="the shared pictures are not here (STYLOGRAM_SHARED)")
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_so_it_is_of_photographs(precision):
    """bfloat16 on these alone: its features have 8 bits, and those of a few channels a loss of their own."""
    given = {"size": 128, "scales": 1, "iterations": 300, "device": "cuda"}
    best = [
        losses(stylize(PHOTOGRAPH, PHOTOGRAPH.with_name("starry_night.jpg"), precision=kind, **given)).min()
        for kind in ("fp32", precision)
    ]
    assert best[1] == pytest.approx(best[0], rel=0.02)


def test_the_same_run_gives_the_same_bytes():
    assert (painted().picture == painted().picture).all()


def test_a_picture_that_does_not_fit_is_one_clear_line():
    queue = Queue()
    rest = queue.empty((_core.cuda_device(0)["free"] - (1 << 30),), np.uint8)
    with pytest.raises(Error, match=r"the GPU's memory does not suffice|out of memory"):
        painted(size=2048, iterations=1)
    assert rest.nbytes > 0  # kept until here
    del rest
    assert len(painted(iterations=2).trace) == 2  # and the GPU is as it was


def test_a_gpu_that_is_not_there_is_one_clear_line():
    with pytest.raises(Error, match="there is no cuda:7"):
        painted("cuda:7")


def test_nothing_is_made_over_and_over():
    """A second run of the same size takes no longer than the first: sessions, not leaks."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        painted(iterations=10)
        seconds.append(time.perf_counter() - started)
    assert seconds[2] < 2 * seconds[0]
