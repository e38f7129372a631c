"""The CUDA library beside `_core`, and whether this machine can use it: its driver, its GPUs."""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import _core
from ..errors import Error
from ..objective import Failed

BUILD = "build it with nvcc: pip install --config-settings=cmake.define.STYLOGRAM_CUDA=ON stylogram"
_MEMORY = re.compile(r"out of memory on the GPU: (.*)")


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver describes it; memory in bytes."""

    index: int
    name: str
    capability: tuple[int, int]
    free: int
    total: int

    def __str__(self) -> str:
        return f"{self.name} (cuda:{self.index}, {self.total >> 20} MiB)"


def path() -> Path:
    """Where the library lies, if this build has one."""
    return Path(_core.__file__).with_name("_cuda.so")


def open_library() -> None:
    """Open the library of kernels, once. Raises Error where this build has none, or it cannot be opened."""
    if _core.cuda_kernels():
        return
    if not path().exists():
        raise Error(f"device cuda: this build of stylogram has no CUDA kernels; {BUILD}")
    try:
        _core.cuda_open(str(path()))
    except ValueError as problem:
        raise Error(f"device cuda: {problem}") from None


@cache
def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def gpus() -> list[Gpu]:
    """The GPUs of this machine. Raises Error without a library, a driver, or with one that is too old."""
    open_library()
    try:
        found = [_core.cuda_device(index) | {"index": index} for index in range(_core.cuda_devices())]
    except RuntimeError as problem:
        if "InsufficientDriver" in str(problem) and not _driver():
            raise Error("device cuda: this machine has no NVIDIA driver (libcuda.so.1 is not found)") from None
        if "InsufficientDriver" in str(problem):
            raise Error(
                f"device cuda: the NVIDIA driver is too old; one for CUDA 13 or newer is needed: {problem}"
            ) from None
        if "NoDevice" in str(problem):
            raise Error("device cuda: the NVIDIA driver sees no GPU") from None
        raise Error(f"device cuda: {problem}") from None
    return [Gpu(**one) for one in found]


def gpu(index: int) -> Gpu:
    """GPU number `index`; raises Error where there is none such."""
    found = gpus()
    if not 0 <= index < len(found):
        there = ", ".join(f"cuda:{one.index} ({one.name})" for one in found) or "none"
        raise Error(f"device: there is no cuda:{index}; accepted here: {there}")
    return found[index]


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """What CUDA throws meanwhile is raised as Failed, in one line."""
    try:
        yield
    except RuntimeError as problem:
        raise explained(problem, doing) from problem


def explained(problem: Exception, doing: str) -> Failed:
    """What CUDA or ONNX Runtime say of a failure on the GPU, in one line, and what can be changed."""
    text = " ".join(str(problem).split())
    memory = _MEMORY.search(text)
    if memory or re.search(r"out of memory|Failed to allocate memory|BFCArena|cudaErrorMemoryAllocation", text):
        needed = memory.group(1) if memory else text[:200]
        return Failed(
            f"{doing}: the GPU's memory does not suffice: {needed}; a smaller --size, --history or --scales, a "
            "narrower --precision, or fewer pictures at once take less"
        )
    said = text if len(text) <= 400 else f"{text[:240]} ... {text[-160:]}"  # the reason may be at either end
    return Failed(f"{doing}: the GPU failed: {said}")
