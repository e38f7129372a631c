"""The worker's painter in this process: what it says of jobs that wait, that are cancelled, and that cannot be kept."""

import pytest
from service.serving import CONTENT, STYLE, networks
from stylogram import devices
from stylogram.devices.graphs import Place
from stylogram.devices.sessions import DevicePass
from stylogram.result import Result
from stylogram.service import painter as painting
from stylogram.service import worker
from stylogram.service.worker import Orders, Task

FOREVER = 100_000


class Heard:
    """A painter and what it says. `then`: what to do when a job has done its second iteration."""

    def __init__(self, folder, **told):
        self.said, self.then, self.orders = [], {}, Orders()
        self.folder, self.network = folder, str(networks(folder / "networks") / "narrow.onnx")
        for name, data in (("content", CONTENT), ("style", STYLE)):
            (folder / name).write_bytes(data)
        given = {"threads": 1, "batch": 8, "memory": None, "seconds": 60.0, "iterations": FOREVER, "device": "cpu"}
        self.painter = painting.Painter({**given, **told}, self.orders, self.say)

    def say(self, event, **more):
        self.said.append((event, more))
        if event == "progress" and more["iteration"] == 2 and more["job"] in self.then:
            self.then.pop(more["job"])()

    def task(self, name, task="stylize", pictures=("content", "style"), checkpoint=None, **options):
        options = {"network": self.network, "size": 32, "iterations": 3, **options}
        own = {field: [str(self.folder / field)] for field in pictures}
        return Task(name, task, options, own, "png", checkpoint, self.folder / "jobs" / name)

    def cancel(self, name):
        self.orders.hear({"cancel": name})

    def run(self, *tasks):
        """How each job has ended, in that order; each once."""
        self.painter.run(tasks)
        made = [more for event, more in self.said if event == "ended"]
        assert sorted(more["job"] for more in made) == sorted(task.id for task in tasks)
        return {more["job"]: more["state"] for more in made}

    def ended(self, name):
        return next((more for event, more in self.said if event == "ended" and more["job"] == name), None)


def test_a_job_beyond_the_limit_of_its_group_is_cancelled_at_once(tmp_path):
    heard = Heard(tmp_path, batch=1)
    found = []

    def then():
        heard.cancel("c")
        found.append(heard.ended("c"))
        heard.cancel("a")

    heard.then["a"] = then
    states = heard.run(heard.task("a", iterations=FOREVER), heard.task("b"), heard.task("c", iterations=FOREVER))
    assert list(states.items()) == [("c", "cancelled"), ("a", "cancelled"), ("b", "done")]
    assert found[0]["size"] is None  # before any picture
    assert heard.ended("a")["size"] == (24, 32)


@pytest.mark.parametrize("task", ["stylize", "dream"])
def test_a_job_that_was_cancelled_before_its_group_began(tmp_path, task):
    heard = Heard(tmp_path)
    pictures = ("content", "style") if task == "stylize" else ()
    heard.cancel("a")
    assert heard.run(heard.task("a", task, pictures, iterations=FOREVER)) == {"a": "cancelled"}


def test_a_job_that_is_to_be_painted_again_is_cancelled_at_once(tmp_path, monkeypatch):
    heard = Heard(tmp_path)
    whole = painting.Group

    def group(subjects, *more):
        if len(subjects) > 1:
            raise MemoryError
        return whole(subjects, *more)

    monkeypatch.setattr(painting, "Group", group)
    heard.then["a"] = lambda: (heard.cancel("b"), found.append(heard.ended("b")), heard.cancel("a"))
    found = []
    states = heard.run(heard.task("a", iterations=FOREVER), heard.task("b", iterations=FOREVER, seed=1))
    assert list(states.items()) == [("b", "cancelled"), ("a", "cancelled")]
    assert found[0]["state"] == "cancelled"


def test_a_stop_gives_back_what_has_not_begun(tmp_path):
    heard = Heard(tmp_path, batch=1)
    heard.then["a"] = lambda: heard.orders.hear({"stop": True})
    states = heard.run(*(heard.task(name, iterations=FOREVER) for name in "abc"))
    assert states == dict.fromkeys("abc", "stopped")
    assert heard.ended("a")["checkpoint"]["iteration"] == 2
    assert heard.ended("b")["checkpoint"] is None
    assert not [more for event, more in heard.said if event == "progress" and more["job"] != "a"]


def test_a_picture_that_cannot_be_encoded_fails_its_job_alone(tmp_path, monkeypatch, capsys):
    save = Result.save

    def saved(result, path):
        if "/b/" in str(path):
            raise RuntimeError("no codec")
        save(result, path)

    monkeypatch.setattr(Result, "save", saved)
    heard = Heard(tmp_path)
    heard.then["c"] = lambda: heard.cancel("b")  # the end of b comes in the middle of the others
    tasks = [heard.task("a"), heard.task("b", iterations=3), heard.task("c")]
    assert heard.run(*tasks) == {"b": "failed", "a": "done", "c": "done"}
    assert heard.ended("b")["error"] == "the server has a fault: RuntimeError; its log says more"
    assert heard.ended("b")["size"] is None
    assert "no codec" in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_fails_its_job_alone(tmp_path):
    heard = Heard(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a").write_bytes(b"in the way")
    assert heard.run(heard.task("a"), heard.task("b")) == {"a": "failed", "b": "done"}


def test_a_fault_of_the_painter_fails_the_group(tmp_path, monkeypatch):
    """The worker goes on: it says how the jobs ended, and that it is idle."""
    heard = Heard(tmp_path)
    made = heard.task("a")
    message = {**vars(made), "directory": str(made.directory)}
    heard.orders.hear({"run": [message, {**message, "id": "b"}]})
    heard.orders.hear({"run": "the end"})  # of the loop: it is no list of jobs
    monkeypatch.setattr(worker, "Orders", lambda: heard.orders)
    monkeypatch.setattr(worker, "Voice", lambda: heard)
    monkeypatch.setattr(worker, "_device", lambda *_: "cpu")
    monkeypatch.setattr(heard.orders, "listen", lambda: None)
    monkeypatch.setattr(painting.Painter, "run", lambda *_: 1 / 0)
    told = '{"threads": 1, "batch": 8, "memory": null, "seconds": 60, "iterations": 9, "device": "cpu"}'
    monkeypatch.setattr(worker.sys, "argv", ["worker", told])
    with pytest.raises(TypeError):
        worker.main()
    assert [(event, more.get("job")) for event, more in heard.said] == [("ended", "a"), ("ended", "b"), ("idle", None)]
    assert heard.ended("b")["error"].startswith("the server has a fault: ZeroDivisionError")


def test_iterations_that_only_the_network_knows_are_counted(tmp_path):
    """A grid has as many reconstructions as the network has stages."""
    heard = Heard(tmp_path, iterations=5)
    made = heard.task("a", "reconstruct", (), grid=True, iterations=2)
    made.pictures["image"] = [str(tmp_path / "content")]
    assert heard.run(made) == {"a": "done"}
    note = "stopped after 5 iterations in all, this server's limit, at iteration 2 of 2, scale 3 of 10"
    assert heard.ended("a")["notes"][-1] == note


@pytest.fixture
def gpu(pytestconfig, monkeypatch):
    """An emulated GPU, with the network in ONNX Runtime's CPU."""
    emulated = pytest.importorskip("kernels.emulated")
    place = Place("host", emulated.queue(pytestconfig.cache.mkdir("emulated-cuda")))
    asked = []

    def on_gpu(name, index, precision):
        asked.append((name, index, precision))
        return devices.Choice(place, "emulated")

    monkeypatch.setattr(devices, "_on_gpu", on_gpu)
    return asked


def test_stylize_is_painted_on_a_gpu_and_other_tasks_are_not(tmp_path, gpu, monkeypatch):
    heard, together, real = Heard(tmp_path, device="cuda:1"), [], DevicePass.__init__

    def noted(self, model, taps, shape, place, relu="gradient"):
        together.append(shape[0])
        real(self, model, taps, shape, place, relu)

    monkeypatch.setattr(DevicePass, "__init__", noted)
    alike = [heard.task(name) for name in ("a", "b")]
    tiled, long = heard.task("tiled", tile=64), heard.task("long", iterations=FOREVER)
    heard.then["long"] = lambda: heard.cancel("long")
    states = {"a": "done", "b": "done", "tiled": "done", "long": "cancelled"}
    assert heard.run(*alike, tiled, long) == states
    assert gpu == [("cuda", 1, "fp32")]  # found once, for all
    assert sorted(together) == [1, 2]
    assert "emulated" in heard.ended("a")["notes"]
    assert "emulated" not in heard.ended("tiled")["notes"]
    assert heard.ended("long")["size"] == (24, 32)
    heard.said.clear()
    texture = heard.task("texture", "texture", ())
    texture.pictures["source"] = [str(tmp_path / "style")]
    assert heard.run(texture) == {"texture": "done"}
    assert len(gpu) == 1
    assert len(together) == 2


def test_a_job_goes_on_from_its_checkpoint_on_a_gpu(tmp_path, gpu):
    heard = Heard(tmp_path, device="cuda")
    heard.then["a"] = lambda: heard.orders.hear({"stop": True})
    assert heard.run(heard.task("a", iterations=6)) == {"a": "stopped"}
    left = heard.ended("a")["checkpoint"]
    heard.orders.stop.clear()
    heard.said.clear()
    assert heard.run(heard.task("a", iterations=6, checkpoint=left)) == {"a": "done"}
    rows = [more["iteration"] for event, more in heard.said if event == "progress"]
    assert rows == list(range(left["iteration"], 7))
