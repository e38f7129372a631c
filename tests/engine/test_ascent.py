"""DeepDream's step and Yosinski's, by hand."""

import numpy as np
import pytest
from stylogram.ascent import NormalisedStep, RegularisedAscent, Regularisers
from stylogram.priors import PRIORS

X = np.random.default_rng(0).uniform(0.2, 0.8, (2, 3, 6, 8)).astype("f4")
G = np.random.default_rng(1).standard_normal(X.shape).astype("f4") * np.array([1, 50], "f4").reshape(2, 1, 1, 1)
MEAN = np.array([0.4, 0.5, 0.6], "f4")


def stepped(optimiser, gradient=G):
    x = X.copy()
    optimiser.step(x, gradient, np.zeros(2))
    return x


def test_a_normalised_step_moves_each_picture_by_the_rate_on_average():
    moved = stepped(NormalisedStep(0.01)) - X
    np.testing.assert_allclose(np.abs(moved).mean(axis=(1, 2, 3)), 0.01, rtol=1e-4)
    assert (np.sign(moved) == -np.sign(G)).mean() > 0.99
    np.testing.assert_array_equal(stepped(NormalisedStep(0.01), np.zeros_like(G)), X)


def ascended(**given):
    """What the regularisers make, as X = 255 (x - mean)."""
    made = stepped(RegularisedAscent(Regularisers(**given), MEAN))
    return (made - MEAN.reshape(3, 1, 1)) * 255


CENTRED = (X - MEAN.reshape(3, 1, 1)) * 255


def test_rate_decay_and_progress():
    rises = -G / 255
    np.testing.assert_allclose(ascended(rate=3), CENTRED + 3 * rises, atol=1e-3)
    np.testing.assert_allclose(ascended(rate=3, decay=0.3), 0.7 * (CENTRED + 3 * rises), atol=1e-3)
    moved = ascended(rate=1e9, progress=2) - CENTRED
    assert (moved * rises).sum(axis=(1, 2, 3)) == pytest.approx([2, 2], rel=1e-2)  # to first order it rises by 2
    np.testing.assert_allclose(ascended(rate=1e-3, progress=2), CENTRED + 1e-3 * rises, atol=1e-3)


def test_percentages_of_the_pixels_become_the_mean():
    for name in ("small_norm", "small_contribution"):
        flat = np.abs(ascended(rate=1e-6, **{name: 25})).max(axis=1) < 1e-3
        assert flat.mean(axis=(1, 2)) == pytest.approx([0.25, 0.25], abs=0.03)
        sizes = np.sqrt((CENTRED**2).sum(axis=1)) if name == "small_norm" else np.abs((CENTRED * G).sum(axis=1))
        assert all(s[f].max() < s[~f].min() for s, f in zip(sizes, flat, strict=True))


def test_the_blur_comes_every_few_steps():
    optimiser = RegularisedAscent(Regularisers(rate=1e-9, blur=1.0, blur_every=2), MEAN)
    x, variation = X.copy(), []
    for _ in range(4):
        optimiser.step(x, G, np.zeros(2))
        variation.append(np.abs(np.diff(x, axis=3)).sum())
    assert variation[0] == pytest.approx(np.abs(np.diff(X, axis=3)).sum(), rel=1e-4)
    assert variation[1] < 0.7 * variation[0]
    assert variation[2] == pytest.approx(variation[1], rel=1e-4)
    assert variation[3] < variation[2]


def test_the_four_sets_are_the_paper_s():
    """Table 1: decay, blur's width and interval, percentages of norm and of contribution."""
    table = [(0, 0.5, 4, 50, 0), (0.3, 0, 0, 20, 0), (1e-4, 1.0, 4, 0, 0), (0, 0.5, 4, 0, 90)]
    for number, row in enumerate(table, 1):
        r = PRIORS[f"yosinski-{number}"].regularisers
        assert (r.decay, r.blur, r.blur_every, r.small_norm, r.small_contribution) == row
