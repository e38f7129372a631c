"""Each kernel runs at every level that the CPU has, and with one thread and with three; on a GPU, emulated or not."""

from collections.abc import Iterator

import pytest
from kernels import emulated
from kernels.checks import machine
from stylogram import _core
from stylogram.devices.arrays import Queue


@pytest.fixture(params=_core.simd_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    with machine(level=request.param):
        yield request.param


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with machine(threads=request.param):
        yield request.param


@pytest.fixture(scope="module")
def queue(pytestconfig: pytest.Config) -> Queue:
    """Of the GPU under test, to which the library is opened."""
    return emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"), late=True)


@pytest.fixture
def fp32() -> Iterator[None]:
    """Products are as exact as float32 again afterwards."""
    yield
    _core.cuda_set_math("fp32")
