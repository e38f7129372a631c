"""Fixtures that several files ask for."""

import pytest
from kernels import emulated


@pytest.fixture(scope="module")
def gpu(pytestconfig):
    """Our ops for the CUDA provider, on an emulated GPU."""
    emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
