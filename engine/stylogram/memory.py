"""How many pictures fit into memory, and whether it has run out.

A picture takes, at its largest scale: what goes from one graph to another, the content's features, three of the largest
activation for what is between two layers, and the optimiser's vectors. All of that follows from the graphs' shapes.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from stylogram_export.graph import cut, dims, values
from stylogram_export.specialise import specialise

from .errors import Error
from .recipes import Recipe
from .stages import pass_bytes

FLOAT = 4
BLOCKS = 3  # of the largest activation, between the layers
PRECONDITIONER = 5  # vectors: what the optimiser moves and its gradient, the start, and two pyramids
SHARE = 0.5  # of the memory that is free at the start, for the pictures of one batch; as much again for what is kept
ALONE = 0.8  # of the memory that is free, for one picture by itself
LEAST = 64  # pixels: the least side of a tile's core that is worth its surroundings
OWN = 8  # vectors: the picture, its gradient and its best, the content read and resized, the start, a preview's copies
MOST = 16  # pictures in a batch by itself: more are no faster, and a killed batch loses more
#: What is said, in small letters, where memory could not be had.
OUT_OF_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory", "memory does not suffice")


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
    for limit, used, cached in (
        (root / "memory.max", root / "memory.current", "inactive_file"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            # What files have left in memory is given up when it is asked for.
            counts = dict(line.split() for line in (used.parent / "memory.stat").read_text().splitlines())
            taken = int(used.read_text()) - int(counts.get(cached, 0))
            return max(int(limit.read_text()) - taken, 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return math.inf


def bytes_a_picture(model: onnx.ModelProto, taps: Sequence[str], size: tuple[int, int], recipe: Recipe) -> int:
    """Of one picture of `size` (H,W) with its margin, at one scale."""
    whole, at_taps = pass_bytes(model, taps, (1, 3, *size))
    return whole + at_taps + FLOAT * _vectors(recipe) * 3 * math.prod(size)


def bytes_of_features(model: onnx.ModelProto, taps: Sequence[str], size: tuple[int, int]) -> int:
    """Of the features of one picture of `size` (H,W), forward alone."""
    part = specialise(cut(model, taps), (1, 3, *size))
    made = {name: math.prod(side or 1 for side in dims(value) or ()) for name, value in values(part.graph).items()}
    return FLOAT * (sum(made[tap] for tap in taps) + 3 * math.prod(size) + BLOCKS * max(made.values()))


def _vectors(recipe: Recipe) -> int:
    """How many vectors of the picture's size the optimiser holds in memory, counted in float32."""
    settings = recipe.optimiser
    around = PRECONDITIONER if settings.precondition > 1 else 0
    if settings.name != "lbfgs":
        return 2 + around
    if settings.scratch is not None:
        return around
    pairs = min(settings.history, max(recipe.iterations)) + 1
    return (pairs + 3 if settings.history_precision == "float16" else 2 * pairs + 1) + around


def kept_bytes(size: tuple[int, int], content: float, recipe: Recipe, scratch: bool) -> float:
    """Of a picture of `size` (H,W) whatever the tiles: itself in all its copies, what the optimiser holds, its content.

    `content`: the content's features; with `scratch` they are in a file, as is L-BFGS's history.
    """
    return FLOAT * ((OWN + _vectors(recipe)) * 3 * math.prod(size) + (0 if scratch else content))


def core(each: float, size: tuple[int, int], halo: int, kept: float, free: float) -> int | None:
    """The side of the largest core of a tile that there is memory for; None where the whole picture fits.

    `each`: bytes a pixel of a tile, `halo` pixels wider than its core; `kept` bytes are needed whatever the tile.
    Raises Error where not even a core of LEAST pixels fits.
    """
    room = ALONE * free - kept
    if each * math.prod(size) <= room:
        return None
    side = math.isqrt(int(max(room, 0) / each)) - halo
    if side < LEAST:
        needed = (kept + each * (LEAST + halo) ** 2) / ALONE
        raise Error(
            f"tile auto: {size[1]}x{size[0]} pixels need {needed / 2**30:.1f} GiB, of that {kept / 2**30:.1f} for what "
            f"is kept of the whole picture, and {free / 2**30:.1f} GiB are free; accepted: a smaller --size or "
            f"--history, --history-precision float16, --scratch DIR, --optimizer adam, or a number for --tile to try "
            f"it all the same"
        )
    return side


def fitting(bytes_each: int, free: float) -> int:
    """Pictures in a batch by itself."""
    return max(1, min(MOST, int(SHARE * free / bytes_each)))


def ran_out(error: BaseException) -> bool:
    """Whether it says that memory could not be had: Python's, the kernels', ONNX Runtime's or a GPU's, in whatever
    type."""
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in OUT_OF_MEMORY)
