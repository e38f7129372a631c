"""The α-norm against the float64 reference."""

import numpy as np
import pytest
from kernels.checks import VALUE, Doubles, Floats, Tolerance, machine, randoms, slope
from stylogram import _core
from stylogram.losses.alpha_norm import reference

ALPHAS = [1.0, 2.0, 2.5, 6.0]
GRADIENT = Tolerance(1e-6, "a power of a difference that is rounded once: alpha - 1 roundings and those of the factor")


def run(picture: Floats, alpha: float) -> tuple[Doubles, Floats]:
    value, gradient = np.ones(len(picture)), np.ones_like(picture)
    _core.alpha_norm(picture, alpha, 0.7, 0.25, gradient, value)
    return value, gradient


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("d", [1, 7, 1000, 4097, 100_003])
@pytest.mark.usefixtures("level")
def test_loss_is_the_reference(alpha: float, d: int) -> None:
    picture = randoms(2, d)
    value, gradient = run(picture, alpha)
    right_value, right_gradient = reference(picture.astype(np.float64), alpha, 0.7, 0.25)
    VALUE.check(value, right_value + 1)
    GRADIENT.check(gradient, right_gradient + 1)
    with pytest.raises(AssertionError):
        VALUE.check((value - 1) * 1.001, right_value)
    with pytest.raises(AssertionError):
        GRADIENT.check((gradient - 1) * np.float32(1.001), right_gradient)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.usefixtures("level")
def test_gradient_is_that_of_the_value(alpha: float) -> None:
    picture = randoms(2, 30)
    direction = randoms(2, 30, seed=2).astype(np.float64)
    at = picture.astype(np.float64)
    along = slope(lambda moved: reference(moved, alpha, 0.7, 0.25)[0], at, direction, step=1e-6)
    gradient = run(picture, alpha)[1] - 1
    assert np.vdot(gradient.astype(np.float64), direction) == pytest.approx(along, rel=2e-5)
    assert np.vdot(reference(at, alpha, 0.7, 0.25)[1], direction) == pytest.approx(along, rel=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.usefixtures("level")
def test_batch_threads_and_repetition_change_no_bit(alpha: float) -> None:
    picture = randoms(2, 100_003)
    together = run(picture, alpha)
    for threads in (1, 2, 5):
        with machine(threads=threads):
            assert all((a == b).all() for a, b in zip(run(picture, alpha), together, strict=True))
            alone = run(picture[1:].copy(), alpha)
            assert all((a == b[1:]).all() for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.usefixtures("level")
def test_at_the_shift_the_gradient_is_zero(alpha: float) -> None:
    value, gradient = run(np.full((1, 40), 0.25, np.float32), alpha)
    assert (value == 1).all()
    assert (gradient == 1).all()


def test_alpha_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^\[alpha_norm\] alpha must be finite and >= 1, got 0.5$"):
        run(randoms(1, 4), 0.5)
