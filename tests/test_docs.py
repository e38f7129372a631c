"""What the documents say is so: the walk-throughs' files work, the tables are what the program finds."""

import contextlib
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import stylogram
from architectures import light, squeezenet
from kernels.checks import Tolerance, randoms, slope
from narrow_vgg import torchvision_keys, weights
from stylogram import losses, pictures, tasks
from stylogram.cli import main
from stylogram_export import differentiate, rules, vjp
from stylogram_export import weights as weight_files
from stylogram_export.errors import Error
from stylogram_export.layers import discover
from stylogram_export.network import load, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS
from stylogram_export.weights import load_any
from vjp_checks import Case, Reference, cases, derivative_of, difference_error, picture_of, torch_error

from engine import nets

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["CONTRIBUTING.md", "README.md", "docs/layers.md", "docs/operators.md"]
DIVISION = "export/stylogram_export/vjp/div.py"
ATAN = "export/stylogram_export/vjp/atan.py"
MOMENTS = "engine/stylogram/losses/moments.py"
MIX = "engine/stylogram/tasks/mix.py"
NPZ = "export/stylogram_export/weights/npz.py"
FAST = ["--size", "48", "--iterations", "6", "--quiet"]


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def python(document: str) -> list[tuple[str, str]]:
    """The Python blocks of a document: the file name in the info string, or nothing, and the code."""
    return re.findall(r"^```python ?(\S*)\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)


FILES = {name: code for name, code in python("CONTRIBUTING.md") if name}


@dataclass(frozen=True)
class Place:
    """A scanned directory and the caches of what was found in it."""

    package: ModuleType
    caches: tuple[Callable[[], None], ...] = ()


PLACES = {
    "vjp": Place(vjp, (rules.rules.cache_clear,)),
    "losses": Place(losses, (losses._table.cache_clear,)),
    "tasks": Place(tasks),
    "weights": Place(weight_files, (weight_files.formats.cache_clear,)),
}


@contextlib.contextmanager
def planted(file: str, folder: Path) -> Iterator[str]:
    """The directory's scan with a file of CONTRIBUTING.md in it, which is written to `folder`; gives its module's name.

    If the source has such a file by now, it must be that one, and is what is tried.
    """
    path, place = ROOT / file, PLACES[Path(file).parent.name]
    module = f"{place.package.__name__}.{path.stem}"
    if path.exists():
        assert path.read_text(encoding="utf-8") == FILES[file], f"CONTRIBUTING.md shows another {file}"
        yield module
        return
    (folder / path.name).write_text(FILES[file], encoding="utf-8")
    before = place.package.__path__
    place.package.__path__ = [*before, str(folder)]
    _forget(place, module)
    try:
        yield module
    finally:
        place.package.__path__ = before
        _forget(place, module)


def _forget(place: Place, module: str) -> None:
    importlib.invalidate_caches()
    sys.modules.pop(module, None)
    with contextlib.suppress(AttributeError):
        delattr(place.package, module.rpartition(".")[2])
    for clear in place.caches:
        clear()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """planted() for the length of a test; gives the module."""
    folder = tmp_path / "planted"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        yield lambda file: importlib.import_module(stack.enter_context(planted(file, folder)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures and a narrow network."""
    pictures.write(tmp_path / "a.png", nets.blocks(36, 48, 1))
    pictures.write(tmp_path / "b.png", nets.blocks(40, 40, 2, cell=2, tint=(1, 0.3, 0.1)))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the walk-throughs -------------------------------------------------------------------------------------------------


def test_every_file_of_the_walk_throughs_is_tried() -> None:
    assert set(FILES) == {DIVISION, ATAN, MOMENTS, MIX, NPZ}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("check", [["check"], ["format", "--check"]], ids=lambda check: check[0])
def test_the_files_pass_our_lints(file: str, check: list[str]) -> None:
    command = [sys.executable, "-m", "ruff", *check, "--stdin-filename", file, "-"]
    done = subprocess.run(command, input=FILES[file], capture_output=True, text=True, cwd=ROOT, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_quoted_rule_is_the_source() -> None:
    assert FILES[DIVISION] == (ROOT / DIVISION).read_text(encoding="utf-8")


def atan_cases() -> list[Case]:
    return [case for case in cases() if case.example.op == "Atan"]


def atan_model() -> onnx.ModelProto:
    nodes = [onnx.helper.make_node("Atan", ["x"], ["y"])]
    shapes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3, 4, 5)) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "atan", shapes[:1], shapes[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def test_the_rule_is_found_and_right(plant: Callable[[str], ModuleType]) -> None:
    plant(ATAN)
    assert differentiate(atan_model(), ["y"], (1, 3, 4, 5)).taps == ("y",)
    assert atan_cases()
    for case in atan_cases():
        assert difference_error(Reference(derivative_of(case.example, np.float64)), picture_of(case.example), 1e-5) < (
            case.example.rtol
        )
        assert max(torch_error(case.example)) < case.example.torch_rtol


def test_the_rule_wrong_by_a_thousandth_is_noticed(
    plant: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(ATAN)
    right = rules.rules()["Atan"]
    monkeypatch.setitem(
        rules.rules(), "Atan", replace(right, vjp=lambda step: step.mul(right.vjp(step), step.const(1.001)))
    )
    for case in atan_cases():
        pair = Reference(derivative_of(case.example, np.float64))
        assert difference_error(pair, picture_of(case.example), 1e-5) > case.example.rtol
        assert torch_error(case.example)[1] > case.example.torch_rtol


@pytest.mark.skipif((ROOT / ATAN).exists(), reason="the rule is in the source")
def test_without_its_file_there_is_no_rule(tmp_path: Path) -> None:
    with planted(ATAN, tmp_path):
        differentiate(atan_model(), ["y"], (1, 3, 4, 5))
    with pytest.raises(Error, match=r"^\[Atan\] node 'y' has no gradient rule"):
        differentiate(atan_model(), ["y"], (1, 3, 4, 5))


# The loss: means and deviations are summed in double, of differences that float32 has rounded.
CLOSE = Tolerance(2e-6, "float32 features less their mean, which is rounded to float32 once")


@pytest.mark.parametrize("masked", [False, True], ids=["everywhere", "masked"])
@pytest.mark.parametrize("accumulate", [False, True], ids=["set", "added"])
def test_the_loss_is_its_reference(plant: Callable[[str], ModuleType], masked: bool, accumulate: bool) -> None:
    loss = plant(MOMENTS)
    features, style = randoms(2, 5, 7, 9), randoms(1, 5, 6, 6, seed=1)
    mask = np.linspace(0, 1, 63, dtype=np.float32) if masked else None
    goal = loss.target(style)
    term = loss.Term("conv1_1", "tap", features.shape, [(goal, 0.25), (goal, 0.5)], 3.0, "relative", 99, mask)
    value, gradient = np.ones(2), np.ones_like(features)
    term.add(features, gradient, accumulate, value)
    scale = 3.0 * 0.75 / float(np.square(goal.astype(np.float64)).sum())
    flat = features.astype(np.float64).reshape(2, 5, 63)
    expected = loss.reference(flat, goal.astype(np.float64), scale, mask)
    got = gradient.astype(np.float64).reshape(flat.shape) - accumulate
    wide = Tolerance(1e-5, "1 was added in float32 to numbers of about 0.01") if accumulate else CLOSE
    for tolerance, ours, right in ((CLOSE, value - 1, expected[0]), (wide, got, expected[1])):
        tolerance.check(ours, right)
        with pytest.raises(AssertionError):
            tolerance.check(ours * 1.001, right)


def test_the_loss_s_gradient_is_that_of_its_value(plant: Callable[[str], ModuleType]) -> None:
    loss = plant(MOMENTS)
    at, direction = (randoms(2, 5, 63, seed=seed).astype(np.float64) for seed in (0, 2))
    goal = loss.target(randoms(1, 5, 6, 6, seed=1)).astype(np.float64)
    mask = np.linspace(0, 1, 63)
    along = slope(lambda moved: loss.reference(moved, goal, 0.7, mask)[0], at, direction)
    assert np.vdot(loss.reference(at, goal, 0.7, mask)[1], direction) == pytest.approx(along, rel=1e-7)


def test_stylize_takes_the_loss(plant: Callable[[str], ModuleType], here: Path) -> None:
    loss = plant(MOMENTS)
    words = ["stylize", "a.png", "b.png", "-o", "out.png", "--network", "net.onnx", "--style-loss", loss.NAME]
    assert main([*words, *FAST]) == 0
    made = pictures.read(here / "out.png").rgb
    assert made.shape == (36, 48, 3)
    result, other = (
        stylogram.stylize(
            here / "a.png", here / "b.png", network=nets.narrow(), size=48, iterations=30, style_loss=name
        )
        for name in (loss.NAME, "gram")
    )
    assert result.loss < 0.5 * result.trace[0]["loss"]
    assert not np.array_equal(result.exact, other.exact)


def test_without_its_file_there_is_no_loss(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stylize", "a.png", "b.png", "-o", "out.png", "--network", "net.onnx", "--style-loss", "no-such"]
    assert main([*words, *FAST]) == 2
    assert "accepted: " + ", ".join(losses.names("style")) in capsys.readouterr().err


def test_the_task_is_a_command(
    plant: Callable[[str], ModuleType], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(MIX)
    assert main(["--help"]) == 0
    assert re.search(r"^  mix +One picture whose features", capsys.readouterr().out, re.MULTILINE)
    words = ["mix", "a.png", "b.png", "-o", "out.png", "--network", "net.onnx", "--trace", "t.jsonl"]
    assert main([*words, *FAST]) == 0
    assert pictures.read(here / "out.png").rgb.shape == (36, 48, 3)
    assert len((here / "t.jsonl").read_text().splitlines()) == 7
    assert main([*words, *FAST, "--layer", "conv9_9"]) == 2
    assert main([*words, *FAST, "--shares", "1,2,3"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "unknown layer 'conv9_9'; accepted: conv" in errors[0]
    assert errors[1].startswith("error: shares: a number for each of 2 pictures is needed")


def test_the_task_is_a_function_and_mixes(plant: Callable[[str], ModuleType]) -> None:
    plant(MIX)
    network = nets.narrow()
    sources = [nets.blocks(36, 48, 1), nets.blocks(40, 40, 2, tint=(1, 0.3, 0.1))]
    options: dict[str, Any] = {"network": network, "iterations": 40, "layer": "relu2_1"}
    both = stylogram.mix(sources, shares=(3, 1), **options)
    assert both.loss < 0.5 * both.trace[0]["loss"]
    alone = stylogram.mix(sources, shares=(1, 0), tv_weight=0, **options)
    np.testing.assert_allclose(alone.exact, sources[0], atol=1e-6)  # it begins at the minimum


@pytest.mark.skipif((ROOT / MIX).exists(), reason="the task is in the source")
def test_without_its_file_there_is_no_task(tmp_path: Path) -> None:
    with planted(MIX, tmp_path):
        assert callable(stylogram.mix)
    with pytest.raises(AttributeError, match="mix"):
        _ = stylogram.mix


def test_the_weight_format_is_read(plant: Callable[[str], ModuleType], tmp_path: Path) -> None:
    plant(NPZ)
    tensors = weights("vgg11")
    np.savez(tmp_path / "gatys.npz", **tensors)
    np.savez_compressed(tmp_path / "torchvision.npz", **torchvision_keys(tensors))
    gatys, torchvision = (load_any(tmp_path / f"{name}.npz") for name in ("gatys", "torchvision"))
    assert gatys.model == torchvision.model
    held = {t.name: onnx.numpy_helper.to_array(t) for t in gatys.model.graph.initializer}
    assert all(np.array_equal(held[name], value) for name, value in tensors.items())
    assert (gatys.preprocess, gatys.assumed_preprocess) == (PREPROCESS["caffe"], False)
    assert (torchvision.preprocess, torchvision.assumed_preprocess) == (PREPROCESS["imagenet"], True)


def test_bad_files_of_the_format_are_one_line(plant: Callable[[str], ModuleType], tmp_path: Path) -> None:
    plant(NPZ)
    np.savez(tmp_path / "whole.npz", **weights("vgg11"))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez_compressed(tmp_path / "broken.npz", **weights("vgg11"))
    broken = bytearray((tmp_path / "broken.npz").read_bytes())
    broken[1000] ^= 255
    (tmp_path / "broken.npz").write_bytes(broken)
    np.savez(tmp_path / "pickled.npz", code=np.array([print], dtype=object))
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    wrong = {
        "cut": "cut off",
        "broken": "cut off",
        "pickled": "not a file of arrays alone",
        "foreign": "are needed, got a",
    }
    for name, part in wrong.items():
        with pytest.raises(Error, match=part) as caught:
            load_any(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)


# -- the tables --------------------------------------------------------------------------------------------------------


def test_the_table_of_operators_is_what_the_rules_say() -> None:
    command, environment = [sys.executable, "scripts/operators.py"], {**os.environ, "PYTHONIOENCODING": "utf-8"}
    made = subprocess.run(command, capture_output=True, cwd=ROOT, check=True, env=environment)
    assert made.stdout.decode() == text("docs/operators.md"), "python scripts/operators.py > docs/operators.md"


def test_the_table_of_operators_leaves_none_out() -> None:
    words = set(re.findall(r"\w+", text("docs/operators.md")))
    for table in (rules.rules(), rules.ZERO, rules.NOT_DIFFERENTIABLE, rules.RELU_MODES):
        assert set(table) <= words


NETWORKS = {"VGG-19": "vgg19", "ResNet-50": "resnet50", "Inception v1": "inception_v1", "SqueezeNet 1.0": None}


def trained() -> Path:
    path = squeezenet()
    if not path.exists():
        pytest.skip(f"no trained network at STYLOGRAM_SHARED ({path.name} is missing)")
    return path


@pytest.mark.parametrize("network", NETWORKS)
def test_default_layers_are_those_that_are_found(network: str) -> None:
    name = NETWORKS[network]
    model = onnx.load(trained()) if name is None else light(name)
    found = discover(prepare(model))
    row = f"| {network} | {', '.join(found.style)} | {', '.join(found.content)} |"
    assert row in text("docs/layers.md").splitlines()


def test_squeezenet_s_layers_are_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "show", str(trained()), "--preprocess", "caffe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("layer "))
    shown = text("docs/layers.md").splitlines()
    for line in lines[first + 1 :]:
        cells = re.split(r" {2,}", line.strip())
        assert f"| {' | '.join(cells[:6])} |{''.join(f' {word}' for word in cells[6:])} |" in shown


def test_preprocessings_are_as_shown() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (RGB|BGR) \| (\d+) \| ([\d., ]+) \| ([\d., ]+) \|", text("docs/layers.md"), re.M)
    shown = {name: (order, float(scale), _numbers(mean), _numbers(std)) for name, order, scale, mean, std in rows}
    assert shown == {name: (p.order, p.scale, p.mean, p.std) for name, p in PREPROCESS.items()}


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(float(number) for number in cell.split(","))


def test_formats_are_as_shown() -> None:
    suffixes = {re.findall(r"\.\w+", form.NAME)[0] for form in weight_files.formats()}
    assert set(re.findall(r"^\| `(\.\w+)` \|", text("docs/layers.md"), re.MULTILINE)) == suffixes


def test_the_example_declares_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeezenet1_0.onnx").write_bytes(trained().read_bytes())
    monkeypatch.chdir(tmp_path)
    ((_, code),) = python("docs/layers.md")
    exec(compile(code, "docs/layers.md", "exec"), {"__name__": "example"})
    network = load(tmp_path / "squeezenet_named.onnx")
    assert not network.assumed_preprocess
    assert network.preprocess == PREPROCESS["caffe"]
    assert network.layers.style == ("conv1_1", "fire2", "fire3")


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_lead_somewhere(document: str) -> None:
    page = re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)
    links = [(ROOT / document).parent / link for link in re.findall(r"\]\((?!http)([^)#]+)\)", page)]
    tops = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths = [ROOT / path for path in re.findall(rf"`((?:{tops})/[\w./-]+)`", page)]
    assert links + paths
    for path in links + paths:
        assert path.exists(), path
