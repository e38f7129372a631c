"""Batches on a GPU, emulated: see test_devices.py."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from engine.batches import furnish, jobs, lines, rgb
from kernels import emulated
from stylogram import devices, pictures
from stylogram.batching import batch
from stylogram.batching.cluster import Cluster
from stylogram.batching.shared import Shared
from stylogram.cli import main
from stylogram.devices import library, sessions
from stylogram.devices.graphs import Place
from stylogram.devices.sessions import DevicePass
from stylogram.errors import Error
from stylogram.objective import Failed
from stylogram.options import checked
from stylogram.tasks.stylize import Options

GIVEN = {"network": "net.onnx", "size": 32, "iterations": 4, "scales": 1}


@pytest.fixture
def here(tmp_path, monkeypatch, pytestconfig):
    """`--device cuda` is the emulated GPU, with the network in ONNX Runtime's CPU."""
    made = Place("host", emulated.queue(pytestconfig.cache.mkdir("emulated-cuda")))
    monkeypatch.setattr(devices, "_on_gpu", lambda name, index, precision: devices.Choice(made, "runs emulated"))
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """The shapes of the passes that are made."""
    shapes = []
    real = DevicePass.__init__

    def noted(self, model, taps, shape, place, relu="gradient"):
        shapes.append(shape)
        real(self, model, taps, shape, place, relu)

    monkeypatch.setattr(DevicePass, "__init__", noted)
    return shapes


def three(here):
    """Two of one shape in the styles by turns, which go together, and a square one."""
    return jobs(here, {"content": "c0.png", "style": "s0.png", "output": "a.png"},
                {"content": "c1.png", "style": "s1.png", "output": "b.png"},
                {"content": "square.png", "output": "c.png"})  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"scales": 2, "size": 64, "iterations": 2}])
def test_a_batch_gives_what_the_cpu_gives(here, opened, more):
    given = GIVEN | more
    made = batch(three(here), output="gpu", device="cuda", **given)
    assert (made.done, made.failures) == (3, ())
    assert made.notes == ("runs emulated",)
    assert [shape[0] for shape in opened] == [2] * given["scales"] + [1] * given["scales"]
    batch(three(here), output="cpu", **given)
    ours, cpu = ({line["output"]: line["loss"] for line in lines(where)} for where in ("gpu", "cpu"))
    for name, loss in cpu.items():
        assert ours[name] == pytest.approx(loss, rel=0.05)
        assert np.abs(rgb(f"gpu/{name}") - rgb(f"cpu/{name}")).mean() < 3 / 255
    assert batch(three(here), output="gpu", device="cuda", **given).kept == 3


def test_passes_are_made_once_for_all_groups(here, opened):
    rows = [{"content": f"c{k % 3}.png", "style": f"s{k % 2}.png", "output": f"{k}.png"} for k in range(4)]
    made = batch(jobs(here, *rows), output="out", device="cuda", batch=2, **GIVEN)
    assert made.done == 4
    assert [shape[0] for shape in opened] == [2]


def test_where_the_gpus_memory_does_not_suffice_fewer_go_together(here, monkeypatch):
    real = DevicePass.__init__

    def small(self, model, taps, shape, place, relu="gradient"):
        if shape[0] > 1:
            raise library.explained(RuntimeError("out of memory on the GPU: 9 MiB were needed"), "device cuda")
        real(self, model, taps, shape, place, relu)

    monkeypatch.setattr(DevicePass, "__init__", small)
    made = batch(three(here), output="out", device="cuda", **GIVEN)
    assert (made.done, made.failures) == (3, ())
    monkeypatch.setattr(DevicePass, "__init__", lambda *_: small(*(None,) * 3, (2,), None))
    made = batch(three(here), output="none", device="cuda", **GIVEN)
    assert len(made.failures) == 3
    assert all("out of memory for one picture alone" in why for _, why in made.failures)


def test_as_many_go_together_as_the_gpu_has_memory_for(here, opened, monkeypatch):
    real = library.gpu
    monkeypatch.setattr(library, "gpu", lambda index: replace(real(index), free=1 << 20))
    made = batch(three(here), output="out", device="cuda", **GIVEN)
    assert made.done == 3
    assert {shape[0] for shape in opened} == {1}


def test_some_have_masks_and_some_have_none(here):
    half = np.zeros((36, 48, 3), np.float32)
    half[:, :24] = 1
    pictures.write(here / "m.png", half)
    path = jobs(here, {"content": "c0.png", "output": "a.png", "mask": [["m.png", "m.png"]]},
                {"content": "c1.png", "output": "b.png"})  # fmt: skip
    found = {}
    for device in ("cuda", "cpu"):
        assert batch(path, output=device, device=device, batch=2, **GIVEN).done == 2
        found[device] = {line["output"]: line["loss"] for line in lines(device)}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.05)


def test_sessions_of_other_shapes_give_way(here, monkeypatch):
    """A GPU on which but one pass fits."""
    real, alive = DevicePass.__init__, weakref.WeakSet()

    def small(self, model, taps, shape, place, relu="gradient"):
        if alive:
            raise library.explained(RuntimeError("out of memory on the GPU: 9 MiB were needed"), "device cuda")
        real(self, model, taps, shape, place, relu)
        alive.add(self)

    monkeypatch.setattr(DevicePass, "__init__", small)
    made = batch(three(here), output="out", device="cuda", batch=1, **GIVEN)
    assert (made.done, made.failures) == (3, ())


@pytest.mark.parametrize(
    ("device", "gpus", "needs"), [("auto", 0, False), ("auto", 2, True), ("cuda", 0, True), ("cpu", 2, False)]
)
def test_workers_take_a_gpu_where_one_is_asked_for(device, gpus, needs):
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 4.0, **({"GPU": float(gpus)} if gpus else {})})
    job = SimpleNamespace(options=checked(Options, {"device": device}), content="c.png")
    assert Cluster(ray, None, [job], Shared(1e9, here=False), None, None, None)._crew._gpu == needs


def test_a_gpu_that_is_lost_fails_its_jobs_in_one_line_each(here, monkeypatch):
    def lost(self):
        raise Failed("device cuda, running the network: the GPU failed: illegal memory access")

    monkeypatch.setattr(sessions._Bound, "run", lost)
    made = batch(three(here), output="out", device="cuda", **GIVEN)
    assert [why.count("\n") for _, why in made.failures] == [0] * 3
    assert all("the GPU failed" in why for _, why in made.failures)


def test_what_is_not_there_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    path = jobs(tmp_path, {"output": "a.png"})
    for given, said in (
        (["--device", "cuda:9"], "error: device"),
        (["--precision", "fp16"], "precision fp16: on the CPU fp32 is accepted"),
    ):
        assert main(["batch", path, "-o", "out", "--network", "net.onnx", *given]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error
    assert not (tmp_path / "out").exists()


def test_tiles_are_the_cpus(here):
    with pytest.raises(Error, match="tile: on a GPU the picture is taken as a whole, got --device cuda"):
        batch(three(here), output="out", device="cuda", tile=64, **GIVEN)
    shared = Shared(1e9)
    assert shared.device(checked(Options, {"device": "auto", "tile": 64})).place is None
    assert shared.device(checked(Options, {"device": "auto"})).place is not None


def test_groups_on_a_gpu_are_always_the_same_threads(here):
    """ONNX Runtime keeps what it has captured by thread."""
    shared = Shared(1e9)

    def who():
        time.sleep(0.05)  # so that others are busy meanwhile
        return threading.get_ident()

    for device, least, most in (("cuda", 1, 1), ("cpu", 2, 3)):
        with ThreadPoolExecutor(3) as processors:
            threads = shared.threads(checked(Options, {"device": device}), processors)
            found = {future.result() for future in [threads.submit(who) for _ in range(6)]}
        assert least <= len(found) <= most


def test_workers_elsewhere_have_devices_of_their_own(tmp_path):
    """Only they can know what they have."""
    Shared(1e9, here=False).check(checked(Options, {"device": "cuda:7", "precision": "fp16"}))
