"""Total variation against the float64 reference, for the kinds and powers that programs use and for others."""

import numpy as np
import pytest
from kernels.checks import VALUE, Doubles, Floats, Tolerance, distinct, machine, randoms, slope
from stylogram import _core
from stylogram.losses.tv import reference

KINDS = ["anisotropic", "isotropic"]
POWERS = [1.0, 1.5, 2.0, 2.5, 3.0, 4.25]
SIZES = [(1, 1), (1, 7), (5, 1), (2, 2), (3, 64), (65, 33), (40, 1001)]  # height, width
GRADIENT = Tolerance(3e-6, "a sum of four flows that partly cancel, each rounded a few times (6e-8)")


def run(picture: Floats, kind: str, power: float, scale: float = 0.7) -> tuple[Doubles, Floats]:
    """Value and gradient; the gradient begins with zeros, the value with ones."""
    value, gradient = np.ones(len(picture)), np.zeros_like(picture)
    _core.tv(picture, kind, power, scale, gradient, value)
    return value, gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize(("h", "w"), SIZES)
@pytest.mark.usefixtures("level")
def test_loss_is_the_reference(h: int, w: int, power: float, kind: str) -> None:
    picture = distinct(2, 3, h, w)
    value, gradient = run(picture, kind, power)
    right_value, right_gradient = reference(picture.astype(np.float64), kind, power, 0.7)
    VALUE.check(value, right_value + 1)
    GRADIENT.check(gradient, right_gradient)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.usefixtures("level")
def test_a_wrong_factor_is_found(power: float, kind: str) -> None:
    picture = distinct(2, 3, 9, 21)
    value, gradient = run(picture, kind, power)
    right_value, right_gradient = reference(picture.astype(np.float64), kind, power, 0.7)
    with pytest.raises(AssertionError):
        VALUE.check((value - 1) * 1.001, right_value)
    with pytest.raises(AssertionError):
        GRADIENT.check(gradient * np.float32(1.001), right_gradient)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.usefixtures("level")
def test_gradient_is_that_of_the_value(power: float, kind: str) -> None:
    picture = distinct(2, 2, 8, 9)  # differences of 1/288 and more: no kink within the step
    direction = randoms(*picture.shape, seed=4).astype(np.float64)
    at = picture.astype(np.float64)
    along = slope(lambda moved: reference(moved, kind, power, 0.7)[0], at, direction, step=1e-6)
    assert np.vdot(run(picture, kind, power)[1].astype(np.float64), direction) == pytest.approx(along, rel=1e-5)
    assert np.vdot(reference(at, kind, power, 0.7)[1], direction) == pytest.approx(along, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.usefixtures("level")
def test_a_flat_picture_has_no_gradient(power: float, kind: str) -> None:
    value, gradient = run(np.full((1, 3, 6, 7), 0.3, np.float32), kind, power)
    assert (value == 1).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("level")
def test_it_adds_to_the_gradient(kind: str) -> None:
    picture = distinct(1, 3, 12, 50)
    gradient, value = np.full_like(picture, 5), np.zeros(1)
    _core.tv(picture, kind, 2.0, 0.7, gradient, value)
    GRADIENT.check(gradient, reference(picture.astype(np.float64), kind, 2.0, 0.7)[1] + 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1.0, 2.5])
@pytest.mark.usefixtures("level")
def test_batch_threads_and_repetition_change_no_bit(power: float, kind: str) -> None:
    picture = randoms(2, 3, 301, 257)
    together = run(picture, kind, power)
    for threads in (1, 2, 5):
        with machine(threads=threads):
            again = run(picture, kind, power)
            assert (again[0] == together[0]).all()
            assert (again[1] == together[1]).all()
            for n in range(2):
                alone = run(picture[n : n + 1].copy(), kind, power)
                assert (alone[0] == together[0][n : n + 1]).all()
                assert (alone[1] == together[1][n : n + 1]).all()


@pytest.mark.parametrize(
    ("kind", "power", "message"),
    [
        ("diagonal", 2.0, "kind must be one of anisotropic, isotropic; got 'diagonal'"),
        ("isotropic", 0.5, "power must be finite and >= 1, got 0.5"),
        ("isotropic", float("nan"), "power must be finite and >= 1, got nan"),
    ],
)
def test_a_bad_argument_is_one_clear_line(kind: str, power: float, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        run(randoms(1, 3, 4, 4), kind, power)
    assert str(caught.value) == f"[tv] {message}"
