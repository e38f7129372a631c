"""The feature (content) loss against the float64 reference."""

import numpy as np
import pytest
from kernels.checks import ELEMENTWISE, VALUE, Doubles, Floats, machine, randoms, slope
from stylogram import _core
from stylogram.losses.content import reference

SIZES = [(1, 1), (1, 7), (3, 1000), (5, 4097), (64, 1000), (3, 40000)]  # channels, positions


def run(
    features: Floats, target: Floats, scale: Doubles, accumulate: bool, weight: Floats | None
) -> tuple[Doubles, Floats]:
    value, gradient = np.ones(len(features)), np.ones_like(features)
    _core.feature_loss(features, target, scale, gradient, value, accumulate, weight)
    return value, gradient


def inputs(n: int, c: int, p: int, weighted: bool) -> tuple[Floats, Floats, Doubles, Floats | None]:
    weight = np.abs(randoms(p, seed=3)) if weighted else None
    return randoms(n, c * p), randoms(n, c * p, seed=1), np.linspace(0.5, 2, n), weight


def expected(features: Doubles, target: Floats, scale: Doubles, weight: Floats | None) -> tuple[Doubles, Doubles]:
    return reference(features, target.astype(np.float64), scale, None if weight is None else weight.astype(np.float64))


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("c", "p"), SIZES)
@pytest.mark.usefixtures("level")
def test_loss_is_the_reference(c: int, p: int, weighted: bool, accumulate: bool) -> None:
    features, target, scale, weight = inputs(2, c, p, weighted)
    value, gradient = run(features, target, scale, accumulate, weight)
    right_value, right_gradient = expected(features.astype(np.float64), target, scale, weight)
    VALUE.check(value, right_value + 1)
    ELEMENTWISE.check(gradient, right_gradient + accumulate)
    with pytest.raises(AssertionError):
        VALUE.check((value - 1) * 1.001, right_value)
    with pytest.raises(AssertionError):
        ELEMENTWISE.check((gradient - accumulate) * np.float32(1.001), right_gradient)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("level")
def test_gradient_is_that_of_the_value(weighted: bool) -> None:
    features, target, scale, weight = inputs(2, 3, 17, weighted)
    direction = randoms(*features.shape, seed=9).astype(np.float64)
    at = features.astype(np.float64)
    along = slope(lambda moved: expected(moved, target, scale, weight)[0], at, direction)
    _, gradient = run(features, target, scale, False, weight)
    assert np.vdot(gradient.astype(np.float64), direction) == pytest.approx(along, rel=1e-5)
    assert np.vdot(expected(at, target, scale, weight)[1], direction) == pytest.approx(along, rel=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("level")
def test_batch_threads_and_repetition_change_no_bit(weighted: bool) -> None:
    features, target, scale, weight = inputs(3, 7, 20001, weighted)
    together = run(features, target, scale, True, weight)
    for threads in (1, 2, 5):
        with machine(threads=threads):
            again = run(features, target, scale, True, weight)
            assert (again[0] == together[0]).all()
            assert (again[1] == together[1]).all()
            for n in range(3):
                one = slice(n, n + 1)
                alone = run(features[one].copy(), target[one].copy(), scale[one], True, weight)
                assert (alone[0] == together[0][one]).all()
                assert (alone[1] == together[1][one]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": randoms(2, 3, 4)}, "features must be (N, M), got ndim=3"),
        ({"target": randoms(2, 5)}, "target must have shape (2, 12), got (2, 5)"),
        ({"value": np.zeros(1)}, "value must have shape (2,), got (1,)"),
        ({"weight": randoms(5)}, "features' M must be a multiple of weight's P, got M=12, P=5"),
        ({"weight": randoms(1, 4)}, "weight must be (P,), got ndim=2"),
    ],
)
def test_a_bad_argument_is_one_clear_line(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "features": randoms(2, 12),
        "target": randoms(2, 12),
        "scale": np.ones(2),
        "gradient": randoms(2, 12),
        "value": np.zeros(2),
        "accumulate": False,
    }
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.feature_loss(**(arguments | changes))  # type: ignore[arg-type]
    assert str(caught.value) == f"[feature_loss] {message}"
