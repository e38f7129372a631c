"""The matrix product at sizes around its tiles and blocks."""

import numpy as np
import pytest
from kernels.checks import SUMMED, machine, randoms
from stylogram import _core

SIZES = [(1, 1, 1), (3, 5, 7), (13, 33, 31), (64, 64, 1000), (65, 65, 4097), (14, 1030, 100), (200, 513, 33)]


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
@pytest.mark.usefixtures("level")
def test_product_is_numpys(m: int, k: int, n: int) -> None:
    a, b, out = randoms(m, k), randoms(k, n, seed=1), np.full((m, n), np.nan, np.float32)
    _core.matmul(a, b, out)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    SUMMED.check(out, expected)
    with pytest.raises(AssertionError):
        SUMMED.check(out * np.float32(1.001), expected)


@pytest.mark.parametrize("offset", [0, 1, 5, 16])
@pytest.mark.usefixtures("level")
def test_a_large_result_at_any_address(offset: int) -> None:
    """Past the caches, where the rows begin on cache lines, and otherwise from the first line on: nothing beside it."""
    m, k, n = 64, 3, 65_552  # above the size from which it is streamed, and rows of whole lines
    a, b, memory = randoms(m, k), randoms(k, n, seed=1), np.full(m * n + 48, 7, np.float32)
    start = -memory.ctypes.data // 4 % 16 + offset
    out = memory[start : start + m * n].reshape(m, n)
    _core.matmul(a, b, out)
    SUMMED.check(out, a.astype(np.float64) @ b.astype(np.float64))
    assert (memory[:start] == 7).all()
    assert (memory[start + m * n :] == 7).all()


@pytest.mark.usefixtures("level")
def test_threads_change_no_bit() -> None:
    a, b = randoms(70, 600), randoms(600, 3000, seed=1)
    results = []
    for threads in (1, 2, 3, 8):
        with machine(threads=threads):
            out = np.empty((70, 3000), np.float32)
            _core.matmul(a, b, out)
            results.append(out)
    assert all((result == results[0]).all() for result in results[1:])


def test_sizes_that_do_not_fit_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"^\[matmul\] a's K must be b's, got \(2, 3\) and \(4, 5\)$"):
        _core.matmul(randoms(2, 3), randoms(4, 5), randoms(2, 5))
