"""Every command and all Python that README and docs/ show is run, on small pictures, with fewer iterations."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import stylogram
from onnx import TensorProto, helper, numpy_helper
from stylogram import cli, pictures
from stylogram.cli import main
from stylogram_export.layers import discover
from stylogram_export.network import Network, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from engine import nets

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A block, an indented line, or code within a sentence that has an option or a file in it.
SHOWN = re.compile(r"^```sh\n([^`]*?)^```$|^ {4}(stylogram .*)$|`(stylogram [^`]*(?: -|\.)[^`]*)`", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [(page.name, code) for page in PAGES for code in PYTHON.findall(page.read_text(encoding="utf-8"))]
QUICK = {
    "stylize": ["--size", "48", "--iterations", "2", "--quiet"],
    "texture": ["--size", "64x48", "--iterations", "2", "--quiet"],
    "reconstruct": ["--size", "48", "--iterations", "2", "--quiet"],
    "dream": ["--size", "64", "--octaves", "1", "--iterations", "1", "--quiet"],
    "maximize": ["--size", "32", "--iterations", "2", "--quiet"],
    "saliency": ["--size", "48", "--quiet"],
    "occlusion": ["--size", "48", "--quiet"],
    "deconvnet": ["--size", "48", "--quiet"],
    "compare": ["--size", "48", "--quiet"],
    "batch": ["--size", "48", "--iterations", "2", "--quiet"],
    "demo": ["--size", "64", "--iterations", "2", "--quiet"],
    "network": [],
}
ELSEWHERE = {  # the command, and where it is run instead
    "network fetch": "tests/engine/test_zoo.py, on a local server",
    "bench": "tests/bench; the whole takes minutes",
    "serve": "tests/service/test_service_docs.py, with what the page asks it",
}


def commands() -> list[tuple[str, str]]:
    """The page and the command, each once a page, comments and continued lines taken away."""
    found: dict[tuple[str, str], None] = {}
    for page in PAGES:
        for parts in SHOWN.findall(page.read_text(encoding="utf-8")):
            text = "".join(parts).replace("\\\n", " ")
            for line in text.splitlines() if parts[0] else [" ".join(text.split())]:
                words = line.partition(" #")[0].strip()
                if words.startswith("stylogram "):
                    found[page.name, words] = None
    return list(found)


def classifier() -> Network:
    """A chain of convolutions with SqueezeNet's layers, fire2 to fire9, and a thousand classes."""
    rng, channels, value = np.random.default_rng(0), 3, "data"
    nodes, constants = [], []
    for name in ("conv1", *(f"fire{k}" for k in range(2, 10)), "map"):
        width = 1000 if name == "map" else 6
        weight = rng.standard_normal((width, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        constants.append(numpy_helper.from_array(weight.astype("f4"), f"{name}.weight"))
        strides = [2, 2] if name in ("conv1", "fire4", "fire8") else [1, 1]
        linear = helper.make_node("Conv", [value, f"{name}.weight"], [f"{name}:in"], pads=[1] * 4, strides=strides)
        nodes += [linear, helper.make_node("Relu", [f"{name}:in"], [name])]
        channels, value = width, name
    nodes += [
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, "H", "W"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(nodes, "chain", [picture], [logits], constants)
    model = prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    return Network("chain", model, PREPROCESS["caffe"], discover(model))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' commands name: photographs, paintings, masks, networks, jobs."""
    folder = tmp_path_factory.mktemp("docs")
    for directory in ("photos", "paintings", "PICTURES_DIR", "DIR"):
        (folder / directory).mkdir()
    names = ("photo.jpg", "painting.jpg", "a.jpg", "b.jpg", "c.jpg", "gravel.png", "tubingen.jpg", "golden_gate.jpg")
    names += (
        "starry_night.jpg",
        "photos/a.jpg",
        "photos/b.jpg",
        "paintings/starry_night.jpg",
        "paintings/the_scream.jpg",
    )
    names += (
        "PICTURES_DIR/a.jpg",
        "PICTURES_DIR/b.jpg",
        "DIR/a.jpg",
        "DIR/b.jpg",
        "white.png",
        "sky.png",
        "ground.png",
    )
    for seed, name in enumerate(names):
        pictures.write(folder / name, nets.blocks(64, 72, seed))
    (folder / "jobs.csv").write_text("content,style\nphotos/a.jpg,paintings/starry_night.jpg\n", encoding="utf-8")
    save(classifier(), folder / "squeezenet1_0.onnx")
    for name in ("alexnet.onnx", "zfnet.onnx", "epoch-05.onnx", "epoch-10.onnx", "epoch-20.onnx"):
        shutil.copy(folder / "squeezenet1_0.onnx", folder / name)
    save(nets.narrow(), folder / "vgg19.onnx")
    return folder


def test_there_are_commands() -> None:
    pages = {page for page, _ in commands()}
    assert {"README.md", "index.md", "stylize.md", "texture.md", "deconvnet.md", "batch.md", "dream.md"} <= pages


@pytest.mark.parametrize(("page", "line"), commands())
def test_it_runs(
    page: str, line: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line)[1:]
    for start, where in ELSEWHERE.items():
        if words[: len(start.split())] == start.split():
            pytest.skip(f"run elsewhere: {where}")
    monkeypatch.chdir(files)
    for output in ("report", "out"):  # another command's is refused
        shutil.rmtree(output, ignore_errors=True)
    # No weights of VGG are here: a narrow one stands in.
    words = ["vgg19.onnx" if word == "vgg19" else word for word in words]
    status = main([*words, *QUICK[words[0]]])
    assert status == 0, f"{page}: {line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_python_runs_as_it_is_pasted(page: str, code: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(function: Callable[..., Any], **less: Any) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            network = {"network": "vgg19.onnx"} if options.get("network") == "vgg19" else {}
            return function(*given, **options | less | network)

        return call

    monkeypatch.chdir(files)
    shutil.rmtree("out", ignore_errors=True)
    for task, size in (("stylize", 48), ("batch", 48), ("texture", "64x48")):
        monkeypatch.setattr(stylogram, task, quick(getattr(stylogram, task), size=size, iterations=2))
    exec(compile(code, page, "exec"), {"__name__": "pasted"})


def options(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """The command and the option, of a command and those below it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            below = command.get_command(context, part)
            assert below is not None
            yield from options(below, f"{name} {part}")
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            if option.startswith("--") and option not in ("--version", "--output"):
                yield name, option


def test_every_option_is_on_a_page() -> None:
    said = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    every = list(options(cli.stylogram, "stylogram"))
    assert len(every) > 150
    assert [pair for pair in every if not re.search(rf"(?<![\w-]){pair[1]}(?![\w-])", said)] == []
