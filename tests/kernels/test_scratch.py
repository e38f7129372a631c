"""L-BFGS's vectors in a file: the same bits as in memory, nothing left behind, and one line where there is no room."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels.checks import Floats
from stylogram import _core

D = 70_001


def steps(kernel: "_core.Lbfgs") -> Floats:
    """Where six steps on a quadratic lead."""
    diagonal = np.geomspace(0.25, 5, D).astype(np.float32)
    x = np.linspace(2, 3, D, dtype=np.float32)[None].copy()
    for _ in range(6):
        kernel.step(x, diagonal * x, np.array([0.5 * float((diagonal * x**2).sum())]))
    return x


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_file_gives_the_same_bits_and_has_no_name(tmp_path: Path, precision: str) -> None:
    kept = _core.Lbfgs(1, D, 3, backtrack=True, precision=precision, directory=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(steps(kept), steps(_core.Lbfgs(1, D, 3, backtrack=True, precision=precision)))
    assert kept.count[0] == 3
    assert kept.nbytes >= (9 if precision == "float32" else 7) * D * 4


@pytest.mark.parametrize(("name", "reason"), [("none", "No such file or directory"), ("file", "Not a directory")])
def test_a_directory_that_is_none(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"^\[scratch\] no file can be made: {reason}$"):
        _core.Lbfgs(1, D, 3, directory=str(tmp_path / name))


def test_no_room_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full."""
    pytest.importorskip("resource")
    code = f"""
import resource
from stylogram import _core
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    _core.Lbfgs(1, {D}, 30, directory={str(tmp_path)!r})
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[scratch] no room for 16 MiB: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from stylogram import _core
kept = _core.Lbfgs(1, {D}, 30, directory={str(tmp_path)!r})
print(any({str(tmp_path)!r} in line for line in open("/proc/self/maps")), flush=True)
sys.stdin.read()
"""
    if not Path("/proc/self/maps").exists():
        pytest.skip("whether a file is mapped is read from /proc")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "True\n"
        one.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
