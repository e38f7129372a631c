"""The emulated GPU finds what it is there to find: a kernel without its barrier, memory beyond an array's end."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import emulated

GRAM = """
import sys
import numpy as np
from stylogram import _core
from stylogram.devices.arrays import Queue
_core.cuda_open(sys.argv[1])
queue, features = Queue(), np.random.default_rng(0).standard_normal((1, 64, 300), np.float32)
out, there = queue.empty((1, 64, 64)), queue.upload(features)
_core.gram(there, out)
wide = features[0].astype(np.float64)
print(np.abs(out.download()[0] - wide @ wide.T / 300).max() < 1e-5)
"""
BARRIER = "      __syncthreads();  // the chunk is there, and the one before it is done with\n"
END = "column + c < columns"

pytestmark = pytest.mark.skipif(emulated.CHOSEN != "900", reason="the emulator's own checks")


def run(library: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", GRAM, str(library)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("kept", "lost"), [(BARRIER, ""), (END, END + " + 300"), ("", "")], ids=["barrier", "end", "none"]
)
def test_what_is_wrong_is_found(pytestconfig: pytest.Config, tmp_path: Path, kept: str, lost: str) -> None:
    whole = emulated.build("900", pytestconfig.cache.mkdir("emulated-cuda"))
    if not kept:
        assert run(whole).stdout.strip() == "True"
        return
    shutil.copytree(emulated.ROOT / "csrc", tmp_path / "csrc")
    header = tmp_path / "csrc/cuda/product.h"
    assert header.read_text().count(kept) == 1
    header.write_text(header.read_text().replace(kept, lost))
    broken = emulated.relinked(whole.parent, tmp_path / "csrc", "gram", tmp_path / "broken.so")
    done = run(broken)
    assert done.returncode < 0 or done.stdout.strip() == "False"  # a fault, or a wrong result
