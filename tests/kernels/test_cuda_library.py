"""The CUDA library of this build, if it has one: it opens and lists its kernels without a GPU or a driver."""

import subprocess
import sys

import pytest
from stylogram.devices import library

OPEN = """
from stylogram import _core
from stylogram.devices import library
from stylogram.errors import Error
library.open_library()
print(*sorted(_core.cuda_kernels()))
try:
    print(*library.gpus())
except Error as problem:
    print(problem)
"""
KERNELS = {
    "gram", "gram_loss", "feature_loss", "tv", "alpha_norm", "matmul", "gradient_descent", "make_lbfgs", "make_adam",
    "make_pyramid", "follow", "clip", "max_pool", "max_pool_gradient", "relu_gradient", "bias_relu", "narrow", "widen",
    "peak",
}  # fmt: skip


@pytest.mark.skipif(not library.path().exists(), reason="built without CUDA: STYLOGRAM_CUDA=OFF, or no nvcc")
def test_the_library_opens_anywhere_and_says_what_is_missing():
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, check=True)
    kernels, said = done.stdout.strip().splitlines()
    assert set(kernels.split()) >= KERNELS
    assert "cuda:0" in said or said.startswith("device cuda: ")
    if "cuda:0" not in said:
        assert "driver" in said


def test_a_build_without_it_says_how_it_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "path", lambda: tmp_path / "_cuda.so")
    monkeypatch.setattr(library._core, "cuda_kernels", list)
    with pytest.raises(library.Error, match=r"no CUDA kernels; build it with nvcc: pip install .*STYLOGRAM_CUDA=ON"):
        library.open_library()


def test_a_file_that_is_no_library_is_one_clear_line(tmp_path):
    """In a process of its own, where none is open."""
    (tmp_path / "_cuda.so").write_text("no library")
    script = (
        "import sys; from pathlib import Path; from stylogram.devices import library\n"
        "library.path = lambda: Path(sys.argv[1])\n"
        "try: library.open_library()\n"
        "except library.Error as problem: print(problem)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "_cuda.so")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.startswith("device cuda: [cuda] the library of kernels cannot be opened: ")
