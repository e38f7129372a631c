"""The emulated GPU finds what it is there to find: accesses in no order, memory beyond an array's end, or unwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels import emulated
from stylogram import _core
from stylogram.devices.arrays import Queue

BEGIN = """
import sys
import numpy as np
from stylogram import _core
from stylogram.devices.arrays import Queue
_core.cuda_open(sys.argv[1])
queue, numbers = Queue(), np.random.default_rng(0).standard_normal((1, 64, 300), np.float32)
"""
GRAM = """
out, there = queue.empty((1, 64, 64)), queue.upload(numbers)
_core.gram(there, out)
wide = numbers[0].astype(np.float64)
print(np.abs(out.download()[0] - wide @ wide.T / 300).max() < 1e-5)
"""
NORM = """
value, gradient = queue.upload(np.zeros(1)), queue.upload(np.zeros((1, 19200), np.float32))
_core.alpha_norm(queue.upload(numbers.reshape(1, -1)), 2.0, 1.0, 0.0, gradient, value)
print(abs(value.download()[0] - (numbers.astype(np.float64) ** 2).sum()) < 1e-5 * 19200)
"""
WRONG = {  # an op, a script, a header, what is there, and what is there in its place
    "barrier": (
        "gram",
        GRAM,
        "product",
        "      __syncthreads();  // the chunk is there, and the one before it is",
        "//",
    ),
    "copies": ("gram", GRAM, "product", "copies_left<kStages - 2>();", ""),
    "end": ("gram", GRAM, "product", "column + c < columns", "column + c < columns + 300"),
    "copy": ("gram", GRAM, "product", "% across * width;", "% across * width + 1;"),
    "fence": ("alpha_norm", NORM, "reduce", "__threadfence();\n    last =", "last ="),
    "second fence": ("alpha_norm", NORM, "reduce", "if (last) __threadfence();", ""),
    "sums": ("alpha_norm", NORM, "reduce", "  __syncthreads();\n  double total", "  double total"),
    "nothing": (
        "alpha_norm",
        NORM,
        "reduce",
        "threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;\n  __syncthreads();\n  double",
        "threadIdx.x == 0) warps[0] = value;\n  __syncthreads();\n  double",
    ),
}
SAID = {
    "barrier": "shared memory that was not written",
    "copy": "begins at a multiple",
    "fence": "a read races with a write",
    "second fence": "a read races with a write",
    "sums": "shared memory that was not written",
    "nothing": "shared memory that was not written",
}

pytestmark = pytest.mark.skipif(emulated.CHOSEN != "900", reason="the emulator's own checks")


def run(script: str, library: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BEGIN + script, str(library)], capture_output=True, text=True)


@pytest.mark.parametrize("script", [GRAM, NORM], ids=["gram", "alpha_norm"])
def test_what_is_right_passes(pytestconfig: pytest.Config, script: str) -> None:
    done = run(script, emulated.build("900", pytestconfig.cache.mkdir("emulated-cuda")))
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(pytestconfig: pytest.Config, tmp_path: Path, what: str) -> None:
    op, script, name, kept, lost = WRONG[what]
    whole = emulated.build("900", pytestconfig.cache.mkdir("emulated-cuda"))
    shutil.copytree(emulated.ROOT / "csrc", tmp_path / "csrc")
    header = tmp_path / f"csrc/cuda/{name}.h"
    assert header.read_text().count(kept) == 1
    header.write_text(header.read_text().replace(kept, lost))
    broken = emulated.relinked(whole.parent, tmp_path / "csrc", op, tmp_path / "broken.so")
    done = run(script, broken)
    assert done.returncode < 0 or done.stdout == "False\n"  # a fault, the emulator stops, or a wrong result
    assert SAID.get(what, "") in done.stderr


def test_what_nobody_waits_for_is_not_there_yet(queue: Queue) -> None:
    lbfgs, x = _core.CudaLbfgs(1, 9, 3), queue.upload(np.zeros((1, 9), np.float32))
    gradient = queue.upload(np.full((1, 9), np.nan, np.float32))  # kept: memory that is freed is waited for
    lbfgs.step(x, gradient)
    assert lbfgs.look(0)[1] != ["not finite"]  # in another stream
    assert lbfgs.look(queue.handle)[1] == ["not finite"]
    assert gradient.nbytes == 36
