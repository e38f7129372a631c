"""Threads, instruction sets and devices."""

import os
import subprocess
import sys
import threading

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


def test_many_callers_at_once_get_the_right_bits() -> None:
    """While one caller has the pool, the others work by themselves, and with the same result."""
    features = [randoms(1, 33, 30_000, seed=seed) for seed in range(4)]
    expected = [gram(one) for one in features]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(20) if not (gram(features[i]) == expected[i]).all())

    with machine(threads=3):
        callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(10):
            _core.set_threads(2)
            _core.set_threads(3)
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


@pytest.mark.parametrize(
    ("features", "out", "message"),
    [
        (OnGpu(1, 3, 4), OnGpu(1, 3, 3), "no CUDA kernel in this build"),
        (OnGpu(1, 3, 4, strides=(48, 16, 4)), OnGpu(1, 3, 3), "no CUDA kernel in this build"),
        (OnGpu(1, 3, 4), OnGpu(1, 3, 4), "out must have shape (1, 3, 3), got (1, 3, 4)"),
        (OnGpu(1, 3, 4), randoms(1, 3, 3), "out is on another device than the arrays before it"),
        (OnGpu(1, 3, 4, typestr="<f8"), OnGpu(1, 3, 3), "features must be float32, got <f8"),
        (OnGpu(1, 3, 4, strides=(4, 4, 12)), OnGpu(1, 3, 3), "features must be C-contiguous"),
    ],
)
def test_gpu_arrays_are_recognised(features: OnGpu, out: OnGpu | Floats, message: str) -> None:
    if message.startswith("no CUDA") and hasattr(_core, "cuda"):
        pytest.skip("this build has CUDA kernels")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.gram(features, out)  # type: ignore[arg-type]
    assert str(caught.value) == f"[gram] {message}"
