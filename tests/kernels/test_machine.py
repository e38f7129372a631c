"""Threads, instruction sets and devices."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from kernels.checks import Floats, machine, randoms
from stylogram import _core


def gram(features: Floats) -> Floats:
    out = np.empty((features.shape[0], features.shape[1], features.shape[1]), np.float32)
    _core.gram(features, out)
    return out


def test_threads_can_be_set() -> None:
    with machine(threads=3):
        assert _core.threads() == 3
    for bad in (0, -1, 5000):
        with pytest.raises(ValueError, match=f"number of threads must be 1 to 1024, got {bad}"):
            _core.set_threads(bad)


def test_the_number_of_threads_is_the_calling_thread_s_own() -> None:
    seen: list[int] = []

    def other() -> None:
        seen.append(_core.threads())
        _core.set_threads(5)
        seen.append(_core.threads())

    for mine in (3, 7):
        with machine(threads=mine):
            caller = threading.Thread(target=other)
            caller.start()
            caller.join()
            assert _core.threads() == mine
    default = seen[0]
    assert seen == [default, 5, default, 5]
    assert 1 <= default <= (os.cpu_count() or 1)


WORKERS = """
import os, sys, threading
import numpy as np
from stylogram import _core

features, out = np.ones((1, 64, 30_000), np.float32), np.empty((1, 64, 64), np.float32)
before = len(os.listdir("/proc/self/task"))

def grown(count):
    _core.set_threads(count)
    _core.gram(features, out)
    return len(os.listdir("/proc/self/task")) - before

alone = []
caller = threading.Thread(target=lambda: alone.append(grown(1)))
caller.start()
caller.join()
while os.path.exists(f"/proc/self/task/{caller.native_id}"):  # join returns while the thread is still ending
    pass
print(alone[0], grown(3), grown(2), grown(4))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_a_caller_gets_the_threads_that_it_asked_for() -> None:
    """One thread's 1 starts none (it is one itself while it counts), another's 3 two; who asks for more adds."""
    done = subprocess.run([sys.executable, "-c", WORKERS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "2", "2", "3"]


def test_many_callers_at_once_get_the_right_bits() -> None:
    """While one caller has the pool, the others work by themselves, and with the same result for any number."""
    features = [randoms(1, 33, 30_000, seed=seed) for seed in range(4)]
    expected = [gram(one) for one in features]
    wrong: list[int] = []

    def work(i: int) -> None:
        for count in (2, 3, 5, 1) * 5:
            _core.set_threads(count)
            wrong.extend([i] * (not (gram(features[i]) == expected[i]).all()))

    with machine(threads=3):
        callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_pool() -> None:
    features = randoms(1, 33, 30_000)
    with machine(threads=3):
        expected = gram(features)
        child = os.fork()
        if child == 0:
            right = _core.threads() == 3 and bool((gram(features) == expected).all())
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0


def import_with(simd: str) -> subprocess.CompletedProcess[str]:
    program = "from stylogram import _core; print(_core.simd())"
    environment = os.environ | {"STYLOGRAM_SIMD": simd}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("level", _core.simd_levels())
def test_the_environment_chooses_the_instruction_set(level: str) -> None:
    done = import_with(level)
    assert done.stdout.strip() == level, done.stderr


def test_an_unknown_instruction_set_is_one_clear_line() -> None:
    message = f"[simd] this CPU has the levels {', '.join(_core.simd_levels())}; got 'mmx'"
    done = import_with("mmx")
    assert done.returncode != 0
    assert message in done.stderr
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.set_simd("mmx")
    assert str(caught.value) == message


class OnGpu:
    """An array on a GPU, as far as its interface says."""

    def __init__(self, *shape: int, typestr: str = "<f4", strides: tuple[int, ...] | None = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (4096, False),
            "strides": strides,
            "version": 3,
        }


NOT_OPEN = "the array is on a GPU, and the CUDA library is not open"


@pytest.mark.parametrize(
    ("features", "out", "message"),
    [
        (OnGpu(1, 3, 4), OnGpu(1, 3, 4), "out must have shape (1, 3, 3), got (1, 3, 4)"),
        (OnGpu(1, 3, 4), randoms(1, 3, 3), "out is on another device than the arrays before it"),
        (OnGpu(1, 3, 4, typestr="<f8"), OnGpu(1, 3, 3), "features must be float32, got <f8"),
        (OnGpu(1, 3, 4, strides=(4, 4, 12)), OnGpu(1, 3, 3), "features must be C-contiguous"),
    ],
)
def test_gpu_arrays_are_recognised(features: OnGpu, out: OnGpu | Floats, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.gram(features, out)  # type: ignore[arg-type]
    assert str(caught.value) == f"[gram] {message}"


@pytest.mark.parametrize("strides", ["None", "(48, 16, 4)"])
def test_without_the_cuda_library_they_are_refused(strides: str) -> None:
    """In a process of its own: another test may have opened the library."""
    code = (
        "from kernels.test_machine import OnGpu, _core\n"
        f"try: _core.gram(OnGpu(1, 3, 4, strides={strides}), OnGpu(1, 3, 3))\n"
        "except ValueError as problem: print(problem)"
    )
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=tests, capture_output=True, text=True, check=True)
    assert done.stdout == f"[gram] {NOT_OPEN}\n"
