"""How many pictures fit into memory, and whether it has run out.

A picture takes, at its largest scale: what the forward graph keeps for the backward one, the features and gradients at
the taps, the content's features, three of the largest activation for ONNX Runtime's arena (session.reserve), and the
optimiser's vectors. All of that follows from the graphs' shapes.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from stylogram_export import differentiate

from ..recipes import Recipe
from ..session import Shape, output_shapes

FLOAT = 4
BLOCKS = 3  # of the largest activation, in the arena
PRECONDITIONER = 5  # vectors: what the optimiser moves and its gradient, the start, and two pyramids
SHARE = 0.5  # of the memory that is free at the start, for the pictures of one batch; as much again for what is kept
MOST = 16  # pictures in a batch by itself: more are no faster, and a killed batch loses more


def available() -> float:
    """Bytes that this process may still take: the machine's, or its control group's where that is less."""
    return min(_machine(), _group())


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):  # a system that does not say
        return 4 * 2**30


def _group() -> float:
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        (root / "memory.max", root / "memory.current"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(int(limit.read_text()) - int(used.read_text()), 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return math.inf


def bytes_a_picture(model: onnx.ModelProto, taps: Sequence[str], size: tuple[int, int], recipe: Recipe) -> int:
    """Of one picture of `size` (H,W) with its margin, at one scale."""
    shape: Shape = (1, 3, *size)
    arrays = {name: math.prod(dims) for name, dims in output_shapes(differentiate(model, taps, shape).forward).items()}
    picture = math.prod(shape)
    at_taps = sum(arrays[tap] for tap in taps)
    floats = sum(arrays.values()) + 2 * at_taps + 2 * picture + BLOCKS * max(arrays.values())
    return FLOAT * (floats + _vectors(recipe) * picture)


def _vectors(recipe: Recipe) -> int:
    """How many vectors of the picture's size the optimiser holds."""
    settings = recipe.optimiser
    around = PRECONDITIONER if settings.precondition > 1 else 0
    if settings.name == "lbfgs":
        return 2 * (min(settings.history, max(recipe.iterations)) + 1) + 1 + around
    return 2 + around


def fitting(bytes_each: int, free: float) -> int:
    """Pictures in a batch by itself."""
    return max(1, min(MOST, int(SHARE * free / bytes_each)))


def ran_out(error: BaseException) -> bool:
    """Whether it says that memory could not be had: Python's, the kernels', or ONNX Runtime's, in whatever type."""
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory"))
