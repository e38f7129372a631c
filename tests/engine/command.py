"""The command line in tests: a folder to run it in, `stylize` with what is quick, and the line of an error."""

from stylogram import pictures
from stylogram.cli import main
from stylogram_export.network import save

from engine import nets

FAST = ["--size", "48", "--iterations", "3", "--quiet"]


def prepared(tmp_path, monkeypatch):
    """A folder with a content, a style and a narrow network, and nothing else."""
    pictures.write(tmp_path / "content.png", nets.blocks(36, 48, 1))
    pictures.write(tmp_path / "style.png", nets.blocks(40, 40, 2))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stylize(*more, content="content.png", style=("style.png",), out="out.png", network="net.onnx"):
    chosen = [] if network is None else ["--network", network]
    return main(["stylize", str(content), *map(str, style), "-o", str(out), *FAST, *chosen, *more])


def refused(capsys, *parts):
    """The one line on stderr, with every part in it."""
    line = capsys.readouterr().err
    assert line.startswith("error: "), line
    assert line.count("\n") == 1, line
    for part in parts:
        assert part in line
    return True
