"""The parts of `stylogram bench`: each gives records by name. A record is a file and can be measured again alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import batch, compare

Records = Iterator[tuple[str, dict[str, Any]]]
NETWORK = "VGG-19 to conv5_1, Gatys layers"
ITERATIONS = 300  # PyTorch's, of the time to a loss


@dataclass(frozen=True)
class Setting:
    """Sides of the pictures, in pixels; how often each is measured; processors."""

    sizes: tuple[int, ...] = (256, 512, 1024)
    rounds: int = 12
    threads: int = 1

    def case(self, size: int, rounds: int | None = None) -> compare.Case:
        return compare.Case(size, rounds or self.rounds, self.threads)


def _alone(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A record, with how many processors did other work meanwhile."""
    before, started = batch.others(), time.perf_counter()
    record = measure()
    share = (batch.others() - before) / (time.perf_counter() - started)
    return {"network": NETWORK, **record, "others": round(share, 3)}


def _iteration(setting: Setting) -> Records:
    for size in setting.sizes:
        yield f"iteration_{size}", _alone(partial(compare.iteration, setting.case(size)))


def _loss(setting: Setting) -> Records:
    for size in setting.sizes:
        mode = str(compare.iteration(setting.case(size, 3))["best_of_pytorch"])
        yield f"loss_{size}", _alone(partial(compare.time_to_loss, setting.case(size), ITERATIONS, mode))


def _memory(setting: Setting) -> Records:
    for size in setting.sizes:
        yield f"memory_{size}", _alone(partial(compare.memory, setting.case(size, min(setting.rounds, 3))))


def _batch(setting: Setting) -> Records:
    yield "batch", batch.measure("seednet", 256, 16, (4, 16), [1, 4, 16], min(setting.rounds, 2))


def _tiled(setting: Setting) -> Records:
    for size in setting.sizes:
        yield f"tiled_{size}", _alone(partial(_tiles, setting, size))


def _tiles(setting: Setting, size: int) -> dict[str, Any]:
    from . import tiled

    rows = tiled.compared((size, size), [size // 2], min(setting.rounds, 5), setting.threads)
    return {"threads": setting.threads, "rows": rows}


def _growth(setting: Setting) -> Records:
    from . import growth

    yield "growth", _alone(partial(growth.measured, setting.rounds, setting.threads))


PARTS: dict[str, Callable[[Setting], Records]] = {
    "iteration": _iteration,
    "loss": _loss,
    "batch": _batch,
    "memory": _memory,
    "tiled": _tiled,
    "growth": _growth,
}
WITHOUT_PYTORCH = ("batch", "tiled")
