"""libstylogram from outside: built, installed, found by CMake, and the same loss and picture as Python's."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import stylogram
from stylogram.cli import main
from stylogram_export.network import save

from engine import nets

ROOT = Path(__file__).parents[2]
ITERATIONS = 50
SAME = 1e-4  # relative, of the loss: what is promised; with the same convolutions the bits are the same
BUILD_SECONDS = 600


def _command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=BUILD_SECONDS, **options
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def prefix(tmp_path_factory) -> Path:
    """Where libstylogram is installed: what `cmake --install` leaves. The build folder is kept between runs."""
    if shutil.which("cmake") is None or shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no CMake or no C++ compiler here")
    build = ROOT / "build" / "cpp"
    jobs = str(len(os.sched_getaffinity(0)))
    _command("cmake", "-S", ROOT, "-B", build, "-DSTYLOGRAM_LIBRARY=ON")
    _command("cmake", "--build", build, "--target", "stylogram", "--parallel", jobs)
    target = tmp_path_factory.mktemp("prefix")
    _command("cmake", "--install", build, "--prefix", target)
    return target


@pytest.fixture(scope="module")
def embed(prefix, tmp_path_factory) -> Path:
    """examples/embed_cpp, as a stranger builds it: a copy elsewhere, which finds the installed library."""
    source, build = (tmp_path_factory.mktemp(name) for name in ("source", "build"))
    shutil.copytree(ROOT / "examples" / "embed_cpp", source, dirs_exist_ok=True)
    _command("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    _command("cmake", "--build", build)
    return build / "embed"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a content and a style as PPM, and a narrow network."""
    _write(tmp_path / "content.ppm", nets.blocks(72, 96, 1))
    _write(tmp_path / "style.ppm", nets.blocks(96, 80, 2, cell=6, tint=(1, 0.5, 0.2)))
    save(nets.narrow(), tmp_path / "narrow.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, rgb: np.ndarray) -> None:
    bytes_ = np.rint(rgb * 255).astype(np.uint8)
    path.write_bytes(b"P6\n%d %d\n255\n" % bytes_.shape[1::-1] + bytes_.tobytes())


def _read(path: Path) -> np.ndarray:
    head, size, most, body = path.read_bytes().split(b"\n", 3)
    assert (head, most) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(body, np.uint8).reshape(height, width, 3)


def _embedded(
    embed: Path, pair: str, iterations: int = ITERATIONS, **variables: str
) -> subprocess.CompletedProcess[str]:
    words = [embed, pair, "content.ppm", "style.ppm", "out.ppm", iterations]
    environment = {**os.environ, "ONNXRUNTIME_ROOT": str(Path(onnxruntime.__file__).parent), **variables}
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.parametrize("network", ["seednet", "narrow.onnx"])
@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_the_same_as_python(embed, here, monkeypatch, network, convolution):
    """The call that docs/embedding.md names; each graph's 3x3 convolutions against Python's of the same kind."""
    shape = "?,3,?,?" if convolution == "direct" else "1,3,96,96"
    if convolution == "winograd":  # the one size is for both pictures
        _write(here / "content.ppm", nets.blocks(96, 96, 1))
        _write(here / "style.ppm", nets.blocks(96, 96, 2, cell=6, tint=(1, 0.5, 0.2)))
    options = ["--convolution", convolution, "--shape", shape]
    assert main(["network", "export", network, "-o", "pair", *options]) == 0
    done = _embedded(embed, "pair")
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", convolution)
    content, style = _read(here / "content.ppm"), _read(here / "style.ppm")
    wanted = stylogram.stylize(content, style, network=network, size=96, scales=1, iterations=ITERATIONS)
    assert wanted.trace[-1]["iteration"] == ITERATIONS
    loss = float(done.stdout)
    assert loss < 0.2 * wanted.trace[0]["loss"]
    assert abs(loss / wanted.trace[-1]["loss"] - 1) < SAME
    assert np.abs(_read(here / "out.ppm") - np.rint(wanted.exact * 255)).max() <= 1


def test_another_number_of_iterations_is_another_loss(embed, here):
    """Or the test above would pass for two programs that do nothing."""
    assert main(["network", "export", "narrow.onnx", "-o", "pair"]) == 0
    one, two = (float(_embedded(embed, "pair", count).stdout) for count in (9, 10))
    assert abs(one / two - 1) > 10 * SAME


def test_errors_are_one_line(embed, here):
    done = _embedded(embed, "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: there is no file nowhere/forward.onnx")
    assert main(["network", "export", "narrow.onnx", "-o", "pair"]) == 0
    done = _embedded(embed, "pair", ONNXRUNTIME_ROOT=str(here))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"ONNXRUNTIME_ROOT is '{here}': no libonnxruntime.so" in done.stderr
    (here / "style.ppm").write_text("P3")
    done = _embedded(embed, "pair")
    assert (done.returncode, "P6" in done.stderr) == (2, True)


def test_it_needs_neither_python_nor_opencv_nor_openmp(prefix):
    if shutil.which("ldd") is None:
        pytest.skip("no ldd here")
    (library,) = prefix.glob("lib*/**/libstylogram.so")
    needed = {line.split()[0].partition(".so")[0] for line in _command("ldd", library).stdout.splitlines()}
    assert {name for name in needed if name.startswith("lib")} <= {
        "libstdc++",
        "libm",
        "libgcc_s",
        "libc",
        "libdl",
        "libpthread",
    }


def test_what_is_exported_is_the_api(prefix):
    if shutil.which("nm") is None:
        pytest.skip("no nm here")
    (library,) = prefix.glob("lib*/**/libstylogram.so")
    names = [line.split()[-1] for line in _command("nm", "-DC", "--defined-only", library).stdout.splitlines()]
    foreign = [name for name in names if name.startswith(("pybind11", "cv::", "stylogram::ops", "stylogram::runtime"))]
    assert not foreign
    assert {"stylogram_create", "stylogram_run", "stylogram_last_error"} <= set(names)
