"""L-BFGS against torch's and the two-loop recursion in float64; the ring, rejected pairs, batches, backtracking.

Pairs in float16 are held against the same recursion on rounded pairs. How vectors lie in a file: test_scratch.py.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from kernels.checks import Doubles, Floats, Tolerance, machine, randoms
from kernels.quasi_newton import TwoLoop, halves
from stylogram import _core

NEAR = Tolerance(2e-5, "float32 vectors: roundings of 6e-8 that the inverse Hessian's condition number multiplies")
HALVES = Tolerance(1e-4, "as NEAR, and where float32 is just beyond a tie a half is another one, 5e-4 away")
Gradient = Callable[[Doubles], Doubles]


@pytest.fixture(params=["float32", "float16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def quadratic(d: int) -> Gradient:
    """Half of x' A x - b x, A diagonal with a condition number of 20."""
    diagonal, offset = np.geomspace(0.25, 5, d), np.linspace(-1, 1, d)
    return lambda x: diagonal * x - offset


def rosenbrock(x: Doubles) -> Doubles:
    """Of 100 (x1 - x0²)² + (1 - x0)², over pairs of numbers."""
    a, b = x[0::2], x[1::2]
    gradient = np.empty_like(x)
    gradient[0::2] = -400 * a * (b - a**2) - 2 * (1 - a)
    gradient[1::2] = 200 * (b - a**2)
    return gradient


def follow(
    gradient: Gradient,
    start: Doubles,
    history: int,
    steps: int,
    rate: float = 1.0,
    precision: str = "float32",
    curvature: float = 1e-10,
) -> tuple[Floats, Doubles]:
    """Where the kernel and the float64 recursion end up, given the gradients where the kernel is.

    With its own gradients the recursion would go another way: the first step is short, and its y little more than the
    rounding of the gradients. torch's L-BFGS in float32 is as far from it as ours is.
    """
    x = start[None].astype(np.float32)
    wide = x[0].astype(np.float64)
    kept = halves if precision == "float16" else np.copy
    right = TwoLoop(history, rate, curvature, kept)
    kernel = _core.Lbfgs(1, start.size, history, learning_rate=rate, curvature=curvature, precision=precision)
    for _ in range(steps):
        slope = gradient(x[0].astype(np.float64)).astype(np.float32)
        kernel.step(x, slope[None])
        wide = right.step(wide, slope.astype(np.float64))
    assert kernel.count[0] == len(right.pairs)
    return x[0], wide


@pytest.mark.parametrize(("d", "history"), [(1, 3), (7, 1), (50, 5), (50, 100), (5000, 6), (70_001, 3)])
@pytest.mark.usefixtures("level", "threads")
def test_quadratic(d: int, history: int) -> None:
    got, expected = follow(quadratic(d), np.linspace(2, 3, d), history, 15)
    NEAR.check(got, expected)


@pytest.mark.parametrize(("d", "history"), [(1, 3), (50, 5), (5000, 6), (70_001, 3)])
@pytest.mark.usefixtures("level", "threads")
def test_float16_is_the_recursion_on_rounded_pairs(d: int, history: int) -> None:
    got, expected = follow(quadratic(d), np.linspace(2, 3, d), history, 15, precision="float16")
    HALVES.check(got, expected)


@pytest.mark.parametrize("size", [1e-12, 1e12])
@pytest.mark.usefixtures("level")
def test_float16_has_no_largest_and_no_smallest_number(size: float) -> None:
    """float16 by itself ends at 65504 and at 6e-8."""
    gradients = size * tables(1, 15, 4500).astype(np.float64)[:, 0]
    left = iter(gradients)
    got, expected = follow(lambda _: next(left), np.zeros(4500), 4, 15, precision="float16", curvature=0)
    HALVES.check(got, expected)


@pytest.mark.usefixtures("level")
def test_float16_within_a_block_from_large_to_small() -> None:
    """Numbers 12 orders of magnitude apart, and a block of zeros."""
    spread = np.geomspace(1e-6, 1e6, 4500)
    spread[2048:4096] = 0
    gradients = spread * tables(1, 15, 4500).astype(np.float64)[:, 0]
    left = iter(gradients)
    got, expected = follow(lambda _: next(left), np.zeros(4500), 4, 15, precision="float16")
    HALVES.check(got, expected)


def test_float16_is_not_the_recursion_on_pairs_as_they_are() -> None:
    """The checks above can tell the two apart."""
    gradients, x, right, wide = tables(1, 15, 4500), np.zeros((1, 4500), np.float32), TwoLoop(4), np.zeros(4500)
    kernel = _core.Lbfgs(1, 4500, 4, precision="float16")
    for gradient in gradients:
        kernel.step(x, gradient)
        wide = right.step(wide, gradient[0].astype(np.float64))
    with pytest.raises(AssertionError):
        HALVES.check(x[0], wide)
    Tolerance(2e-3, "two roundings of 2^-12 a pair").check(x[0], wide)


@pytest.mark.usefixtures("level")
def test_a_pair_that_is_not_finite_is_rejected(precision: str) -> None:
    """The difference of two gradients of 3e38 is infinite."""
    kernel, x = _core.Lbfgs(1, 5000, 3, precision=precision), np.zeros((1, 5000), np.float32)
    gradient = np.ones((1, 5000), np.float32)
    gradient[0, 4321] = 3e38
    kernel.step(x, gradient)
    kernel.step(x, -gradient)
    assert kernel.outcome == ["rejected"]
    assert kernel.count[0] == 0
    assert np.isfinite(x).all()


@pytest.mark.parametrize("history", [2, 10])
@pytest.mark.usefixtures("level")
def test_rosenbrock(history: int) -> None:
    """From near the valley, with a short step; 12 steps, as rounding grows with the curvature's change."""
    got, expected = follow(rosenbrock, np.tile([0.8, 0.6], 3), history, 12, rate=0.3)
    NEAR.check(got, expected)
    with pytest.raises(AssertionError):
        NEAR.check(got * np.float32(1.001), expected)


@pytest.mark.usefixtures("level")
def test_a_quadratic_is_solved() -> None:
    d = 3000
    x, gradient = np.zeros((1, d), np.float32), quadratic(d)
    kernel = _core.Lbfgs(1, d, 20)
    for _ in range(60):
        kernel.step(x, gradient(x[0].astype(np.float64))[None].astype(np.float32))
    solution = np.linspace(-1, 1, d) / np.geomspace(0.25, 5, d)
    assert np.linalg.norm(x[0] - solution) < 1e-4 * np.linalg.norm(solution)


def tables(n: int, steps: int, d: int, seed: int = 3) -> Floats:
    """Gradients (steps,n,d), whatever x is. Every third is 1.5 times the one before it: y.s < 0, a rejected pair."""
    gradients = randoms(steps, n, d, seed=seed)
    for i in range(2, steps, 3):
        gradients[i] = np.float32(1.5) * gradients[i - 1]
    return gradients


def run(gradients: Floats, history: int, **options: float | str) -> tuple[list[Floats], "_core.Lbfgs"]:
    """x after every step, from ones."""
    steps, n, d = gradients.shape
    kernel, x, path = _core.Lbfgs(n, d, history, **options), np.ones((n, d), np.float32), []
    for i in range(steps):
        kernel.step(x, gradients[i])
        path.append(x.copy())
    return path, kernel


@pytest.mark.parametrize("history", [1, 3, 8])
@pytest.mark.usefixtures("level", "threads")
def test_rejected_pairs_and_the_ring(history: int) -> None:
    gradients = tables(1, 30, 4500)
    path, kernel = run(gradients, history)
    right, wide, kept = TwoLoop(history), np.ones(4500), 0
    for i, x in enumerate(path):
        before = right.pairs
        wide = right.step(wide, gradients[i, 0].astype(np.float64))
        kept += right.pairs is not before
        NEAR.check(x[0], wide)
    assert history < kept < 25
    assert len(right.pairs) == history == kernel.count[0]


@pytest.mark.parametrize("history", [2, 7])
@pytest.mark.usefixtures("level")
def test_steps_are_torchs(history: int) -> None:
    torch = pytest.importorskip("torch")
    gradients = tables(1, 25, 3000, seed=8)
    path, _ = run(gradients, history, learning_rate=0.7)
    x = torch.ones(3000, requires_grad=True)
    optimizer = torch.optim.LBFGS([x], lr=0.7, max_iter=1, tolerance_grad=0, tolerance_change=0, history_size=history)
    for i, ours in enumerate(path):
        x.grad = torch.from_numpy(gradients[i, 0].copy())
        optimizer.step(lambda: 0.0)
        NEAR.check(ours[0], x.detach().numpy().astype(np.float64))


@pytest.mark.usefixtures("level")
def test_torch_on_a_quadratic() -> None:
    """Each with its own gradients; few numbers, so that the first step is not short (see `follow`)."""
    torch = pytest.importorskip("torch")
    diagonal = torch.linspace(0.5, 4, 40)
    theirs = torch.linspace(-1, 1, 40).requires_grad_()
    optimizer = torch.optim.LBFGS([theirs], max_iter=1, tolerance_grad=0, tolerance_change=0, history_size=4)

    def closure() -> "torch.Tensor":
        optimizer.zero_grad()
        loss = (diagonal * (theirs - 1) ** 2).sum() / 2
        loss.backward()
        return loss

    ours, kernel = np.linspace(-1, 1, 40, dtype=np.float32)[None].copy(), _core.Lbfgs(1, 40, 4)
    for _ in range(12):
        kernel.step(ours, diagonal.numpy() * (ours - 1))
        optimizer.step(closure)
        NEAR.check(ours[0], theirs.detach().numpy().astype(np.float64))


@pytest.mark.usefixtures("level", "threads")
def test_a_batch_gives_what_each_picture_gets_alone(precision: str) -> None:
    gradients = tables(3, 20, 70_001)
    gradients[:, 1] *= 1e-9  # none of this picture's pairs has the curvature
    together, kernel = run(gradients, 4, precision=precision)
    for n in range(3):
        alone, one = run(gradients[:, n : n + 1].copy(), 4, precision=precision)
        assert all((a[0] == b[n]).all() for a, b in zip(alone, together, strict=True))
        assert one.count[0] == kernel.count[n]
    assert len(set(kernel.count.tolist())) > 1


@pytest.mark.usefixtures("level")
def test_same_bits_again_and_with_any_number_of_threads(precision: str) -> None:
    gradients = tables(2, 10, 70_001)
    first, _ = run(gradients, 3, precision=precision)
    for threads in (1, 2, 3, 7):
        with machine(threads=threads):
            again, _ = run(gradients, 3, precision=precision)
            assert all((a == b).all() for a, b in zip(again, first, strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.usefixtures("level")
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float, precision: str) -> None:
    gradients = tables(2, 12, 5000)
    expected, _ = run(gradients, 3, precision=precision)
    kernel, x = _core.Lbfgs(2, 5000, 3, precision=precision), np.ones((2, 5000), np.float32)
    broken = gradients[0].copy()
    broken[:, 4321] = bad
    for i in range(12):
        if i in (0, 1, 6):
            before, count = x.copy(), kernel.count
            kernel.step(x, broken)
            assert (x == before).all()
            assert (kernel.count == count).all()
            assert kernel.outcome == ["not finite"] * 2
        kernel.step(x, gradients[i])
        assert (x == expected[i]).all()


def test_reset_forgets_everything() -> None:
    gradients = tables(2, 6, 100)
    expected, kernel = run(gradients, 3)
    kernel.reset()
    assert (kernel.count == 0).all()
    x = np.ones((2, 100), np.float32)
    for i in range(6):
        kernel.step(x, gradients[i])
        assert (x == expected[i]).all()
        assert kernel.outcome[0] == "first" if i == 0 else kernel.outcome[0] in ("kept", "rejected")


def test_the_first_step_is_one_over_the_l1_norm_at_most() -> None:
    for size in (0.001, 10.0):
        x, gradient = np.zeros((1, 50), np.float32), np.full((1, 50), size, np.float32)
        _core.Lbfgs(1, 50, 2, learning_rate=0.5).step(x, gradient)
        np.testing.assert_allclose(x, -0.5 * min(1, 1 / (50 * size)) * size, rtol=1e-6)


class Valley:
    """Half of 10 x², for backtracking: a step of length 1 along -g goes ten times too far."""

    def __init__(self, start: float, **options: float | str) -> None:
        self.x = np.full((1, 4), start, np.float32)
        self.kernel = _core.Lbfgs(1, 4, 3, backtrack=True, **options)

    def value(self) -> float:
        return float(5 * (self.x.astype(np.float64) ** 2).sum())

    def step(self, value: float | None = None) -> str:
        self.kernel.step(self.x, 10 * self.x, np.array([self.value() if value is None else value]))
        return self.kernel.outcome[0]


@pytest.mark.usefixtures("level")
def test_a_worse_value_halves_the_step_and_stores_no_pair(precision: str) -> None:
    valley = Valley(1.0, learning_rate=60.0, precision=precision)
    assert valley.step() == "first"  # by 60 / 40 along -10: from 1 to -14
    np.testing.assert_allclose(valley.x, -14)
    for expected in (-6.5, -2.75):
        assert valley.step() == "halved"
        np.testing.assert_allclose(valley.x, expected)
        assert valley.kernel.count[0] == 0
    assert valley.step() == "halved"  # to -0.875, below the 1 of the start
    assert valley.step() == "kept"
    assert valley.kernel.count[0] == 1


@pytest.mark.usefixtures("level")
def test_values_never_rise_with_backtracking(precision: str) -> None:
    valley = Valley(1.0, learning_rate=2.1, precision=precision)  # alone this diverges: |1 - 2.1| > 1
    accepted = []
    for _ in range(60):
        value = valley.value()
        if valley.step() not in ("halved", "restarted"):
            accepted.append(value)
    assert len(accepted) > 5
    assert all(after <= before * (1 + 1e-4) for before, after in pairwise(accepted))
    assert accepted[-1] < 1e-6 * accepted[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.usefixtures("level")
def test_after_ten_halvings_the_history_is_cleared(bad: float, precision: str) -> None:
    valley = Valley(1.0, learning_rate=0.1, precision=precision)
    for _ in range(4):
        valley.step()
    assert valley.kernel.count[0] == 3
    before = valley.x.copy()
    valley.step()
    moved = valley.x - before
    for halving in range(1, 11):
        assert valley.step(bad) == "halved"
        np.testing.assert_allclose(valley.x, before + moved / 2**halving, rtol=1e-6)
    assert valley.step(bad) == "restarted"
    assert valley.kernel.count[0] == 0
    gradient = 10 * before.astype(np.float64)
    length = 0.1 * min(1, 1 / np.abs(gradient).sum())
    np.testing.assert_allclose(valley.x, before - length * gradient, rtol=1e-6)
    assert valley.step() == "kept"


def test_a_rise_within_the_tolerance_passes() -> None:
    for tolerance, outcome in ((0.5, "kept"), (1e-4, "halved")):
        kernel = _core.Lbfgs(1, 2, 3, backtrack=True, tolerance=tolerance)
        x = np.ones((1, 2), np.float32)
        kernel.step(x, x.copy(), np.array([1.0]))
        kernel.step(x, x * 0.5, np.array([1.01]))
        assert kernel.outcome == [outcome]


def test_size_and_learning_rate_can_be_read() -> None:
    kernel = _core.Lbfgs(2, 1000, 5)
    assert kernel.nbytes == 2 * (5 + 1) * 2 * 1008 * 4
    assert _core.Lbfgs(2, 1000, 5, precision="float16").nbytes == 2 * ((5 + 1) * 2 * 2 + 2 * 4) * 1008
    kernel.learning_rate = 0.25
    assert kernel.learning_rate == 0.25
    with pytest.raises(ValueError, match="learning_rate must be finite and > 0, got 0"):
        kernel.learning_rate = 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 5, 3), {}, "n, d and history must be >= 1, got 0, 5 and 3"),
        ((1, 5, 3), {"learning_rate": float("nan")}, "learning_rate must be finite and > 0, got nan"),
        ((1, 5, 3), {"curvature": -1.0}, "curvature must be finite and >= 0, got -1"),
        ((1, 5, 3), {"tolerance": float("inf")}, "tolerance must be finite and >= 0, got inf"),
        ((1, 5, 3), {"precision": "float8"}, "precision must be float32 or float16, got 'float8'"),
    ],
)
def test_bad_options_are_one_clear_line(
    arguments: tuple[int, int, int], options: dict[str, float | str], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Lbfgs(*arguments, **options)
    assert str(caught.value) == f"[lbfgs] {message}"


def test_bad_arrays_are_one_clear_line() -> None:
    kernel = _core.Lbfgs(2, 5, 3, backtrack=True)
    x = randoms(2, 5)
    with pytest.raises(ValueError, match=r"^\[lbfgs\] gradient must have shape \(2, 5\), got \(2, 4\)$"):
        kernel.step(x, randoms(2, 4))
    with pytest.raises(ValueError, match=r"^\[lbfgs\] value is needed with backtrack$"):
        kernel.step(x, randoms(2, 5))
