"""The emulated GPU on which ONNX Runtime's CUDA provider runs here, and its cuDNN."""

import ctypes

import pytest
from kernels import emulated
from stylogram.devices import sessions
from stylogram.devices.arrays import Queue


@pytest.fixture(scope="module")
def queue(pytestconfig) -> Queue:
    made = emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))
    assert not sessions.missing()
    return made


@pytest.fixture
def computing():
    """The stand-in's cuDNN computes what a graph describes."""
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_compute(1)
    yield library
    for switch in ("compute", "compile", "unsteady", "fail", "greedy", "refuse_fused", "refuse_notes"):
        getattr(library, f"standin_{switch}")(0)
