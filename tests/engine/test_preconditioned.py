"""The preconditioner against its own definition, and what it is for: coarse structures come sooner."""

import numpy as np
import pytest
import stylogram
from stylogram import Error, _core
from stylogram.optimise import Settings
from stylogram.preconditioned import Preconditioned, optimiser_of

SHAPE = (2, 3, 24, 40)


def smoothed(values, growth, levels=2):
    made = np.empty_like(values)
    _core.Pyramid(values.shape[0] * values.shape[1], *values.shape[2:], levels, growth).apply(values, made)
    return made


def test_a_step_of_gradient_descent_is_that_in_the_other_space():
    rng = np.random.default_rng(0)
    picture, first, second = (rng.standard_normal(SHAPE).astype(np.float32) for _ in range(3))
    start = picture.copy()
    optimiser = optimiser_of(Settings("sgd", learning_rate=0.5, precondition=1.5), SHAPE)
    optimiser.step(picture, first, np.zeros(2))
    np.testing.assert_allclose(picture, start - 0.5 * smoothed(smoothed(first, 1.5), 1.5), atol=1e-4)
    optimiser.step(picture, second, np.zeros(2))
    wanted = start - 0.5 * smoothed(smoothed(first + second, 1.5), 1.5)
    np.testing.assert_allclose(picture, wanted, atol=1e-4)


def test_one_means_the_optimiser_itself():
    assert not isinstance(optimiser_of(Settings(), SHAPE), Preconditioned)
    with pytest.raises(Error, match="precondition: a number above 1 is needed, got 1"):
        Preconditioned(optimiser_of(Settings(), SHAPE), SHAPE, 1.0)


@pytest.mark.parametrize("growth", [1.0, 1.5])
def test_l_bfgs_arrives_with_and_without(growth):
    """½ Σ w (x − 1)², w from 1 to 100."""
    weight = np.linspace(1, 100, int(np.prod(SHAPE))).reshape(SHAPE).astype(np.float32)
    picture = np.zeros(SHAPE, np.float32)
    optimiser = optimiser_of(Settings(precondition=growth), SHAPE)
    for _ in range(120):
        gradient = weight * (picture - 1)
        optimiser.step(picture, gradient, 0.5 * (gradient.astype(np.float64) * (picture - 1)).sum((1, 2, 3)))
    np.testing.assert_allclose(picture, 1, atol=0.02)


def test_a_coarse_target_comes_sooner():
    """A loss that sees fine structure a hundred times as much as coarse, as feature losses do."""
    height, width = 32, 32
    wave = np.sin(np.arange(width) / width * 2 * np.pi).astype(np.float32)
    target = np.tile(wave, (1, 3, height, 1))
    after = {}
    for growth in (1.0, 2.0):
        picture = np.zeros_like(target)
        optimiser = optimiser_of(Settings("sgd", learning_rate=0.02, precondition=growth), target.shape)
        for _ in range(20):
            optimiser.step(picture, picture - target, np.zeros(1))
        after[growth] = float(np.square(picture - target).mean())
    assert after[2.0] < 0.1 * after[1.0]


def test_a_preset_that_clips_accepts_none():
    picture = np.random.default_rng(0).random((32, 32, 3), np.float32)
    with pytest.raises(Error, match=r"precondition: 1 is accepted with the preset tutorial, .* got 1\.5"):
        stylogram.stylize(picture, picture, preset="tutorial", precondition=1.5, size=32, iterations=1)
