"""What the kernels' tests share: how close is close, and the machine's levels and numbers of threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from stylogram import _core

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tolerance:
    """‖got − expected‖ / ‖expected‖ at most this, max|got − expected| / max|expected| at most ten times it."""

    relative: float
    reason: str

    def check(self, got: NDArray[np.floating], expected: Doubles) -> None:
        assert got.shape == expected.shape
        assert np.isfinite(got).all()
        difference = np.abs(got.astype(np.float64) - expected)
        assert np.linalg.norm(difference) <= self.relative * np.linalg.norm(expected), self.reason
        assert difference.max() <= 10 * self.relative * np.abs(expected).max(), self.reason


ELEMENTWISE = Tolerance(5e-7, "a few roundings of float32 (6e-8 each) per number")
SUMMED = Tolerance(2e-6, "products of float32 summed in float32: a few roundings, and the sum's growing like a root")
VALUE = Tolerance(2e-6, "summed in double, but of terms that float32 has rounded")


def randoms(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def distinct(*shape: int, seed: int = 0) -> Floats:
    """Numbers in [0,1) of which no two are the same: away from the kinks of |x − y|."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) / size).astype(np.float32)


@contextmanager
def machine(level: str | None = None, threads: int | None = None) -> Iterator[None]:
    """The kernels at one level and number of threads, and as they were afterwards."""
    before = _core.simd(), _core.threads()
    try:
        if level is not None:
            _core.set_simd(level)
        if threads is not None:
            _core.set_threads(threads)
        yield
    finally:
        _core.set_simd(before[0])
        _core.set_threads(before[1])


def slope(value: Callable[[Doubles], Doubles], at: Doubles, direction: Doubles, step: float = 1e-5) -> float:
    """The derivative of the sum of `value` along a direction, by central differences in float64."""
    return float((value(at + step * direction).sum() - value(at - step * direction).sum()) / (2 * step))
