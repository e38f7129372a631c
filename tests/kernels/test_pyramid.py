"""The pyramid's operator S against dense matrices in float64: odd and even sizes, planes, levels, threads, aliases."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from kernels.checks import Doubles, Floats, Tolerance, machine, randoms
from stylogram import _core

SIZES = [(1, 1), (1, 9), (2, 2), (3, 5), (5, 3), (16, 16), (37, 41), (64, 50)]  # height, width
LARGE = (301, 257)  # the first level is cut into bands
NEAR = Tolerance(5e-7, "each level blends twice, a few roundings of 6e-8, and the levels are summed")


def doubling(n: int) -> Doubles:
    """U of one side, (n, ⌈n/2⌉), from its definition."""
    coarse = (n + 1) // 2
    matrix = np.zeros((n, coarse))
    for i in range(n):
        place = (i + 0.5) / 2 - 0.5
        left = int(np.floor(place))
        matrix[i, np.clip(left, 0, coarse - 1)] += 1 - (place - left)
        matrix[i, np.clip(left + 1, 0, coarse - 1)] += place - left
    return matrix


def levels_used(h: int, w: int, levels: int) -> int:
    sides = [min(h, w)]
    while len(sides) <= levels and (sides[-1] + 1) // 2 >= 2:
        sides.append((sides[-1] + 1) // 2)
    return len(sides) - 1


def reference(v: Doubles, levels: int, growth: float) -> Doubles:
    """S v, (...,H,W)."""
    h, w = v.shape[-2:]
    used = levels_used(h, w, levels)
    scales = [1.0] + [growth**level * (1 - 1 / growth) for level in range(1, used + 1)]
    copies, sides = [v], []
    for _ in range(used):
        rows, columns = doubling(copies[-1].shape[-2]), doubling(copies[-1].shape[-1])
        sides.append((rows, columns))
        copies.append(rows.T @ copies[-1] @ columns / 4)
    total = scales[-1] * copies[-1]
    for (rows, columns), scale, copy in zip(sides[::-1], scales[-2::-1], copies[-2::-1], strict=True):
        total = scale * copy + rows @ total @ columns.T
    return np.asarray(total)


def applied(v: Floats, levels: int, growth: float = 2.0) -> Floats:
    out = np.full_like(v, np.nan)
    h, w = v.shape[-2:]
    _core.Pyramid(v.size // (h * w), h, w, levels, growth).apply(v, out)
    return out


@pytest.mark.parametrize("levels", range(7))
@pytest.mark.parametrize(("h", "w"), SIZES)
@pytest.mark.usefixtures("level")
def test_it_is_the_reference(h: int, w: int, levels: int) -> None:
    for n, c, growth in [(1, 1, 2.0), (1, 3, 1.5), (2, 3, 4.0)]:
        v = randoms(n, c, h, w, seed=levels)
        NEAR.check(applied(v, levels, growth), reference(v.astype(np.float64), levels, growth))


@pytest.mark.parametrize("size", [LARGE, (601, 522), (33, 2100), (2100, 33)])
@pytest.mark.usefixtures("level", "threads")
def test_bands_are_the_reference(size: tuple[int, int]) -> None:
    v = randoms(3, *size)
    NEAR.check(applied(v, 5), reference(v.astype(np.float64), 5, 2.0))


@pytest.mark.parametrize("size", [(3, 5), (64, 50), LARGE])
@pytest.mark.usefixtures("level")
def test_a_wrong_factor_is_found(size: tuple[int, int]) -> None:
    v = randoms(2, *size)
    right = reference(v.astype(np.float64), 3, 2.0)
    NEAR.check(applied(v, 3), right)
    with pytest.raises(AssertionError):
        NEAR.check(applied(v, 3) * np.float32(1.001), right)
    with pytest.raises(AssertionError):
        NEAR.check(applied(v, 3, 2.002), right)


@pytest.mark.parametrize(("h", "w"), [*SIZES, LARGE])
@pytest.mark.usefixtures("level")
def test_it_is_symmetric_and_at_least_the_identity(h: int, w: int) -> None:
    a, b = randoms(3, h, w, seed=1), randoms(3, h, w, seed=2)
    s_a, s_b = applied(a, 5).astype(np.float64), applied(b, 5).astype(np.float64)
    magnitude = float(np.linalg.norm(a) * np.linalg.norm(s_b))
    assert abs(np.vdot(s_a, b) - np.vdot(a, s_b)) <= 1e-7 * magnitude
    assert np.vdot(a, s_a) >= np.vdot(a, a.astype(np.float64)) * (1 - 1e-6)


@pytest.mark.parametrize("size", [(1, 1), (37, 41), LARGE])
@pytest.mark.usefixtures("level", "threads")
def test_it_adds_a_base_and_works_in_place(size: tuple[int, int]) -> None:
    v, base = randoms(1, 3, *size), randoms(1, 3, *size, seed=5)
    pyramid, right, out = _core.Pyramid(3, *size, 5), applied(v, 5), np.empty_like(v)
    pyramid.apply_add(v, base, out)
    NEAR.check(out, base + reference(v.astype(np.float64), 5, 2.0))
    calls: list[tuple[Floats, Callable[[Floats], None]]] = [
        (v, lambda same: pyramid.apply(same, same)),
        (v, lambda same: pyramid.apply_add(same, base, same)),
        (base, lambda same: pyramid.apply_add(v, same, same)),
        (v, lambda same: pyramid.apply_add(same, same, same)),
    ]
    expected = [right, out, out, right + v]
    for (start, call), wanted in zip(calls, expected, strict=True):
        same = start.copy()
        call(same)
        assert (same == wanted).all()


@pytest.mark.parametrize("size", [(16, 16), (37, 41), LARGE])
@pytest.mark.usefixtures("level")
def test_batch_threads_and_repetition_change_no_bit(size: tuple[int, int]) -> None:
    v = randoms(2, 3, *size)
    together = applied(v, 5)
    for threads in (1, 2, 5):
        with machine(threads=threads):
            pyramid, again = _core.Pyramid(6, *size, 5), np.empty_like(v)
            for _ in range(2):
                pyramid.apply(v, again)
                assert (again == together).all()
            for n in range(2):
                assert (applied(v[n : n + 1].copy(), 5) == together[n : n + 1]).all()


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_levels_end_where_a_side_would_be_below_two(h: int, w: int) -> None:
    used = [_core.Pyramid(1, h, w, levels).levels for levels in range(9)]
    assert used == [levels_used(h, w, levels) for levels in range(9)]
    assert all(0 <= after - before <= 1 for before, after in pairwise(used))


def test_levels_of_known_sizes() -> None:
    sizes = [(2, 2), (3, 5), (5, 3), (16, 16), (17, 90), (512, 512)]
    assert [_core.Pyramid(3, h, w, 20).levels for h, w in sizes] == [0, 1, 1, 3, 4, 8]


@pytest.mark.parametrize(
    ("sizes", "growth", "message"),
    [
        ((0, 4, 5, 2), 2.0, "planes, height and width must be >= 1, got 0, 4, 5"),
        ((3, 4, -1, 2), 2.0, "planes, height and width must be >= 1, got 3, 4, -1"),
        ((2**40, 4, 5, 2), 2.0, f"planes x height x width must be <= {2**40}, got {2**40} x 4 x 5"),
        ((3, 4, 5, -1), 2.0, "levels must be >= 0, got -1"),
        ((3, 4, 5, 2), 1.0, "growth must be finite and > 1, got 1"),
        ((3, 4, 5, 2), float("nan"), "growth must be finite and > 1, got nan"),
        ((3, 8, 8, 2), 1e30, "growth^2 must be a float32, got growth 1e+30"),
    ],
)
def test_bad_sizes_are_one_clear_line(sizes: tuple[int, int, int, int], growth: float, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Pyramid(*sizes, growth)
    assert str(caught.value) == f"[pyramid] {message}"


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (randoms(3, 4, 6), "v must have shape (3, 4, 5), got (3, 4, 6)"),
        (randoms(60), "v must have shape (3, 4, 5), got (60,)"),
        (randoms(2, 3, 4, 5), "v must be (N, C, 4, 5) with N C = 3, got (2, 3, 4, 5)"),
        (randoms(1, 3, 5, 4), "v must be (N, C, 4, 5) with N C = 3, got (1, 3, 5, 4)"),
        (randoms(3, 4, 10)[:, :, ::2], "v must be C-contiguous"),
        (randoms(3, 4, 5).astype(np.float64), "v must be float32, got float64"),
    ],
)
def test_a_bad_array_is_one_clear_line(v: Floats, message: str) -> None:
    pyramid, good = _core.Pyramid(3, 4, 5, 2), randoms(3, 4, 5)
    for call in (lambda: pyramid.apply(v, good), lambda: pyramid.apply_add(v, good, good)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call()
        assert str(caught.value) == f"[pyramid] {message}"
    for other in (lambda: pyramid.apply_add(good, v, good), lambda: pyramid.apply_add(good, good, v)):
        with pytest.raises(ValueError, match=r"\[pyramid\] (base|out) must "):
            other()


@pytest.mark.parametrize("apart", [1, 59])
def test_an_overlap_is_refused(apart: int) -> None:
    memory = randoms(200)
    v, out, other = memory[:60], memory[apart : apart + 60], memory[140:]
    v, out, other = (array.reshape(3, 4, 5) for array in (v, out, other))
    pyramid = _core.Pyramid(3, 4, 5, 1)
    with pytest.raises(ValueError, match="out must be v or apart from it, got an overlap"):
        pyramid.apply(v, out)
    with pytest.raises(ValueError, match="out must be v or apart from it, got an overlap"):
        pyramid.apply_add(out, other, v)
    with pytest.raises(ValueError, match="out must be base or apart from it, got an overlap"):
        pyramid.apply_add(other, v, out)
    pyramid.apply(v, memory[60:120].reshape(3, 4, 5))
