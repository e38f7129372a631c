"""Convergence: the baseline does our work on any network, methods change what they say, a run is kept once."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper
from stylogram import driver, pictures, zoo
from stylogram.optimise import Lbfgs, Settings
from stylogram.session import features_of
from stylogram_export.network import folded, save

from engine import nets

torch = pytest.importorskip("torch", reason="the baseline is PyTorch's")
convergence = importlib.import_module("stylogram_bench.convergence")
graph = importlib.import_module("stylogram_bench.graph")
reached = importlib.import_module("stylogram_bench.reached")
warm = importlib.import_module("stylogram_bench.warm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures by the names of the pairs, and a narrow network."""
    for number, name in enumerate((*convergence.PHOTOGRAPHS, *convergence.PAINTINGS)):
        pictures.write(tmp_path / f"{name}.jpg", nets.blocks(48, 64, number, cell=4 + number))
    save(nets.narrow(), tmp_path / "net.onnx")
    return tmp_path


def case(folder: Path) -> Any:
    return convergence.cases(folder, str(folder / "net.onnx"), None, 64, 1)[0]


def concatenating() -> Any:
    """Overlapping pools that go beyond the edge, a side branch, a stride: what SqueezeNet has."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (6, 3, 5, 5), "w2": (4, 6, 1, 1), "w3": (4, 6, 3, 3)}
    constants = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return nets.by_hand(
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[2, 2, 2, 2], kernel_shape=[5, 5]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        helper.make_node("Conv", ["c", "w2"], ["d"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["c", "w3"], ["e"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["f"]),
        helper.make_node("Relu", ["e"], ["g"]),
        helper.make_node("Concat", ["f", "g"], ["y"], axis=1),
        constants=constants,
    )


@pytest.mark.parametrize("name", ["seednet", "random", "by hand"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_baseline_s_network_gives_what_onnx_runtime_gives(name: str, layout: Any) -> None:
    network = concatenating() if name == "by hand" else zoo.resolve(name)
    taps = list(
        dict.fromkeys(network.layers.tensor(layer) for layer in (*network.layers.style, *network.layers.content))
    )
    model, picture = folded(network, taps), np.random.default_rng(1).random((1, 3, 46, 62), np.float32)
    wanted = features_of(model, taps, picture, convolution="direct")
    got = graph.Graph(model, taps, layout)(torch.from_numpy(picture))
    for tap in taps:
        np.testing.assert_allclose(got[tap], wanted[tap], rtol=1e-4, atol=1e-4 * np.abs(wanted[tap]).max())


def test_an_operator_that_the_baseline_does_not_know_is_refused() -> None:
    network = nets.by_hand(helper.make_node("Sigmoid", ["x"], ["y"]))
    with pytest.raises(NotImplementedError, match="knows no Sigmoid"):
        graph.Graph(folded(network, ["y"]), ["y"], torch.contiguous_format)


def test_pytorch_and_ours_make_the_same_iterations(folder: Path) -> None:
    theirs, method = case(folder).theirs(), convergence.Method.parse("backtrack=0")
    work = case(folder).work()
    stage = next(method.stages(work))(None)
    stage.objective.evaluate()
    for _ in range(12):
        assert stage.objective.total[0] == pytest.approx(theirs.loss, rel=1e-3)  # float32, and chaos grows
        stage.optimiser.step(stage.objective.picture, stage.objective.gradient, stage.objective.total)
        stage.objective.evaluate()
        theirs.iteration()
    assert theirs.loss < 0.9 * case(folder).theirs().loss


def test_a_first_step_is_so_many_times_as_long(folder: Path) -> None:
    moved = {}
    for name in ("plain", "first=100"):
        stage = next(convergence.Method.parse(name).stages(case(folder).work()))(None)
        stage.objective.evaluate()
        before = stage.objective.picture.copy()
        stage.optimiser.step(stage.objective.picture, stage.objective.gradient, stage.objective.total)
        moved[name] = np.abs(stage.objective.picture - before).astype(np.float64).sum()
    assert moved["first=100"] == pytest.approx(100 * moved["plain"], rel=0.01)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="no method 'magic'"):
        convergence.Method.parse("history=20+magic")


def test_the_warm_l_bfgs_is_the_kernel_s_and_keeps_its_pairs() -> None:
    rng = np.random.default_rng(0)
    curvature = rng.uniform(1, 30, (1, 3, 8, 12)).astype(np.float32)
    ours, kernel = warm.Warm(history=5), Lbfgs(1, curvature.size, Settings(history=5, backtrack=False))
    x = rng.standard_normal(curvature.shape, np.float32)
    y = x.copy()
    for _ in range(15):
        ours.step(x, curvature * x, None)
        kernel.step(y, curvature * y, np.zeros(1))
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5 * np.abs(y).max())
    assert left(ours.at((1, 3, 16, 24)), curvature) < 0.5
    assert left(warm.Warm(history=5), curvature) > 0.9


def left(optimiser: Any, curvature: Any) -> float:
    """What one step leaves of a bowl at twice the size."""
    wide = np.repeat(np.repeat(curvature, 2, 2), 2, 3) / 4
    x = np.random.default_rng(1).standard_normal(wide.shape, np.float32)
    before = float((wide * x * x).sum())
    optimiser.step(x, wide * x, None)
    return float((wide * x * x).sum()) / before


def test_a_run_is_kept_once_and_the_record_is_the_product(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "ITERATIONS", 30)
    monkeypatch.setattr(reached, "ITERATIONS", 30)
    monkeypatch.setattr(convergence, "MODES", ("contiguous",))
    state, given = folder / "state.jsonl", ["--pictures", str(folder), "--network", str(folder / "net.onnx")]
    given += ["--size", "64", "--threads", "1"]

    def called(*arguments: str) -> None:
        done = CliRunner().invoke(convergence.main, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output

    curves = ["curves", str(state), *given, "--pairs", "1", "--methods", "pytorch,coarse=6"]
    called(*curves)
    first = state.read_text()
    assert len(first.splitlines()) == 2
    called(*curves)
    assert state.read_text() == first
    state.write_text("".join(first.splitlines(keepends=True)[:1]))  # stopped: the rest is made again
    called(*curves)
    assert state.read_text() == first
    called("seconds", str(state), *given, "--methods", "plain", "--count", "4")
    called("record", str(state), "-o", str(folder / "out.json"), "--plot", str(folder / "out.png"))
    made = json.loads((folder / "out.json").read_text())["networks"][0]
    pair = made["pairs"][0]
    assert pair["pair"] == "tubingen × starry_night"
    assert pair["pytorch"]["iterations"] <= 30
    start = made["measured"]["making"]["plain@32"]
    assert pair["methods"]["coarse=6"]["curve"][0][0] > start  # the coarse scale comes first
    assert (folder / "out.png").stat().st_size > 1000


@pytest.mark.parametrize("tolerance", [0.3, 0.01, 0.001])
def test_tolerance_stops_where_the_driver_does(tolerance: float) -> None:
    curve = [1 + 0.8**at + 0.01 * (at % 3) for at in range(80)]
    course = driver._Course(1, {})
    for stopped in range(80):
        course.stop_flat(np.array([curve[stopped]]), tolerance, reached.WINDOW)
        if not course.going.any():
            break
    at, over = reached._stopped(curve, tolerance)
    assert at == stopped < 79
    assert over == pytest.approx(min(curve[: at + 1]) / min(curve))


def test_what_falls_steadily_is_not_stopped() -> None:
    assert reached._stopped([float(200 - at) for at in range(100)], 0.01) is None


def synthetic() -> list[dict[str, Any]]:
    """PyTorch takes 2 s an iteration and comes to 1.0; ours 1 s, and 0.25 s at half the size."""
    name = {"network": "net", "size": 64, "pair": "a × b"}
    seconds = {"pytorch@64": [2.0] * 5, "plain@64": [1.0] * 5, "plain@32": [0.25] * 5}
    return [
        {**name, "method": "pytorch", "losses": [[4.0, 2.0, 1.0]]},
        {**name, "method": "plain", "losses": [[4.0, 2.0, 1.5, 1.005]]},
        {**name, "method": "coarse=8", "losses": [[4.0] * 9, [2.0, 1.0]]},
        {"network": "net", "size": 64, "threads": 1, "best_of_pytorch": "contiguous", "modes": {"contiguous": 2.0}}
        | {"seconds": seconds, "making": {"plain@64": 9.0, "plain@32": 0.5}},
    ]


def test_time_to_a_loss_is_iterations_times_seconds() -> None:
    network = reached.together(synthetic())["networks"][0]
    methods = network["pairs"][0]["methods"]
    assert network["pairs"][0]["pytorch_seconds"] == 600  # of 300 iterations, whatever the curve's length
    assert (methods["plain"]["iterations"], methods["plain"]["seconds"]) == (3, 3.0)
    # the coarse scale: half a second to make it, eight iterations, a quarter of the work each
    assert (methods["coarse=8"]["seconds"], methods["coarse=8"]["equal_work"]) == (0.5 + 8 * 0.25 + 1, 3.0)
    assert methods["coarse=8"]["share"] == pytest.approx(3.5 / 600)
    assert network["best"] == "plain"


def test_a_goal_that_was_not_reached_has_no_time() -> None:
    rows = synthetic()
    rows[1] = {**rows[1], "losses": [[4.0, 1.02]]}
    made = reached.together(rows)["networks"][0]
    assert made["pairs"][0]["methods"]["plain"]["iterations"] is None
    assert made["pairs"][0]["methods"]["plain"]["share"] is None
    assert made["best"] == "coarse=8"
