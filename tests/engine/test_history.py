"""L-BFGS's history in float16 and on a disk: the descent, the memory that is counted for it, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import stylogram
from stylogram import _core, memory
from stylogram.cli import main
from stylogram.devices import optimise as on_gpu
from stylogram.errors import Error
from stylogram.optimise import Settings
from stylogram.tasks import reconstruct, stylize, texture
from stylogram_export.network import save

from engine import nets

SIZE = 96


@pytest.fixture(scope="module")
def pair():
    return nets.blocks(72, SIZE, 1), nets.blocks(80, 90, 2, cell=3)


def painted(pair, **options):
    return stylogram.stylize(*pair, **{"network": nets.narrow(), "size": SIZE, "iterations": 60, **options})


def first_and_last(result):
    return result.trace[0]["loss"], min(row["loss"] for row in result.trace)


@pytest.mark.parametrize("history", [8, 100])
@pytest.mark.parametrize("start", [{"precondition": 1}, {"precondition": 2, "scales": 2, "init": "random"}])
def test_float16_descends_as_float32_does(history, start):
    """Single runs differ by some percent, to either side: L-BFGS magnifies any rounding. The mean of five does not."""
    ratios = []
    for seed in range(5):
        pictures = nets.blocks(72, SIZE, 1 + seed), nets.blocks(80, 90, 20 + seed, cell=3)
        whole, half = (
            painted(pictures, history=history, history_precision=name, **start) for name in ("float32", "float16")
        )
        (begin, reached), (_, also) = first_and_last(whole), first_and_last(half)
        assert reached < 0.5 * begin
        assert not np.array_equal(whole.exact, half.exact)
        assert also == pytest.approx(reached, rel=0.1)
        ratios.append(also / reached)
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("module", [stylize, texture, reconstruct])
def test_every_task_that_has_lbfgs_takes_it(module):
    options = module.Options(history_precision="float16")
    settings = options.recipe((256, 256)).optimiser if module is texture else None
    settings = settings or (options.recipe().optimiser if module is stylize else options.settings())
    assert settings.history_precision == "float16"
    assert module.Options().history_precision is None


def test_a_disk_gives_the_same_picture_without_tiles(pair, tmp_path):
    assert np.array_equal(painted(pair, iterations=8, scratch=tmp_path).exact, painted(pair, iterations=8).exact)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_memory_that_is_counted_is_what_is_taken(precision):
    size = (48, 64)
    taken = _core.Lbfgs(1, 3 * 48 * 64, 20, backtrack=True, precision=precision).nbytes
    given = {"history": 20, "iterations": 50, "scales": 1, "history_precision": precision}
    recipe = stylize.Options(**given).recipe()
    adam = stylize.Options(**given, optimizer="adam").recipe()
    counted = memory.kept_bytes(size, 0, recipe, False) - memory.kept_bytes(size, 0, adam, False) + 2 * 4 * 3 * 48 * 64
    assert counted == taken


def test_what_is_on_a_disk_is_not_counted(tmp_path):
    given = {"iterations": 50, "scales": 1, "history": 100}
    kept = [
        memory.kept_bytes((48, 64), 1000, stylize.Options(**given, scratch=where).recipe(), where is not None)
        for where in (None, tmp_path)
    ]
    assert kept[0] - kept[1] == 4 * (1000 + 103 * 3 * 48 * 64)


def test_a_disk_without_room_is_one_line_before_the_first_iteration(pair, tmp_path):
    pytest.importorskip("resource")
    for name, picture in zip("cs", pair, strict=True):
        stylogram.pictures.write(tmp_path / f"{name}.png", picture)
    save(nets.narrow(), tmp_path / "net.onnx")
    code = """
import resource, sys
from stylogram.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
sys.exit(main(sys.argv[1:]))
"""
    given = ["stylize", "c.png", "s.png", "-o", "o.png", "--network", "net.onnx", "--size", str(SIZE), "--scratch", "."]
    given += ["--history", "100"]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: scratch: .: no room for 16 MiB: File too large"
    assert not (tmp_path / "o.png").exists()


def test_a_wrong_precision(pair, tmp_path, capsys):
    stylogram.pictures.write(tmp_path / "c.png", pair[0])
    picture = str(tmp_path / "c.png")
    given = ["stylize", picture, picture, "-o", str(tmp_path / "o.png"), "--history-precision", "float8"]
    assert main(given) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_gpus_history_is_in_its_memory():
    message = "scratch: on a GPU the history is in its memory, got /tmp; accepted: none"
    with pytest.raises(Error, match=f"^{message}$"):
        on_gpu.optimiser_of(Settings(scratch="/tmp"), (1, 3, 32, 32))
