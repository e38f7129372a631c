"""Each kernel runs at every level that the CPU has, and with one thread and with three."""

from collections.abc import Iterator

import pytest
from kernels.checks import machine
from stylogram import _core


@pytest.fixture(params=_core.simd_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    with machine(level=request.param):
        yield request.param


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with machine(threads=request.param):
        yield request.param
