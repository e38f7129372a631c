"""The driver with pictures that stop, or fail, each on its own."""

import numpy as np
import pytest
from stylogram.driver import Diverged, Driver, Stage

from engine import fakes


class Slopes(fakes.Objective):
    """L_i = exp(-r_i t) for the t-th evaluation; the picture is t, its gradient 0."""

    name = "slope"

    def __init__(self, rates, spoil=None):
        super().__init__(len(rates), spoil)
        self.rates = np.array(rates)

    def measure(self):
        self.picture[:] = self.evaluations
        self.total[:] = np.exp(-self.rates * self.evaluations)


class Still:
    def __init__(self, recovers=False):
        self.recovers = recovers

    def step(self, picture, gradient, value):
        pass


def run(objectives, iterations=60, recovers=False, **options):
    stages = [lambda before, one=one: Stage(one, Still(recovers), iterations) for one in objectives]
    return Driver(**options).run(stages, len(stages))


# Over a window of 20 iterations a loss falls by exp(20 r) - 1 of itself.
RATES = (0.2, 1e-5, 0.01)


def test_a_picture_stops_by_its_own_loss_and_keeps_its_picture():
    together = run([Slopes(RATES)], tolerance=1e-2)
    alone = [run([Slopes([rate])], tolerance=1e-2) for rate in RATES]
    assert [one.pictures.flat[0] for one in alone] == [60, 20, 60]
    np.testing.assert_array_equal(together.pictures[:, 0, 0, 0], [60, 20, 60])
    np.testing.assert_allclose(together.losses, [one.losses[0] for one in alone])


def test_the_stage_ends_when_the_last_has_stopped():
    objective = Slopes((1e-5, 1e-6))
    outcome = run([objective], iterations=500, tolerance=1e-2)
    assert objective.evaluations == 21
    assert len(outcome.trace) == 21


def test_what_a_stopped_picture_becomes_does_not_matter():
    def spoil(objective):
        if objective.evaluations > 30:
            objective.total[1] = np.nan

    outcome = run([Slopes(RATES, spoil)], tolerance=1e-2)
    np.testing.assert_array_equal(outcome.pictures[:, 0, 0, 0], [60, 20, 60])
    assert outcome.failed == {}
    assert len(outcome.trace) == 61


def spoiled(at, value=np.nan):
    def spoil(objective):
        if objective.evaluations >= at:
            objective.total[1] = value

    return spoil


def test_apart_a_picture_fails_alone_and_the_others_go_on():
    outcome = run([Slopes((0.1, 0.1, 0.2), spoiled(7)), Slopes((0.1, 0.1, 0.1), spoiled(0))], apart=True)
    assert list(outcome.failed) == [1]
    assert outcome.failed[1].startswith("the loss became nan (slope) at scale 1, iteration 7; try a smaller")
    np.testing.assert_array_equal(outcome.pictures[[0, 2], 0, 0, 0], [60, 60])
    assert np.isfinite(outcome.losses[[0, 2]]).all()
    assert len(outcome.trace) == 122  # the loss is that of the others


def test_apart_an_optimiser_that_recovers_has_the_same_patience_for_each():
    def once(objective):
        if 4 <= objective.evaluations < 9:
            objective.total[0] = np.inf
        if objective.evaluations >= 5:
            objective.total[1] = np.inf

    outcome = run([Slopes((0.1, 0.1), once)], recovers=True, apart=True)
    assert list(outcome.failed) == [1]
    assert "iteration 16" in outcome.failed[1]


def test_apart_a_gradient_that_overflows():
    def spoil(objective):
        objective.gradient[1, 0, 0, 0] = np.inf if objective.evaluations >= 2 else 0

    outcome = run([Slopes((0.1, 0.1), spoil)], apart=True)
    assert outcome.failed[1].startswith("the gradient became infinite at scale 1, iteration 2")


def test_without_apart_one_picture_ends_the_run():
    with pytest.raises(Diverged, match="iteration 7"):
        run([Slopes((0.1, 0.1), spoiled(7))])
