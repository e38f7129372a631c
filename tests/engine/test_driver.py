"""The driver against objectives whose values are known: a parabola, one that becomes NaN, one that is interrupted."""

import numpy as np
import pytest
import stylogram
from stylogram import Error, _core
from stylogram.driver import Diverged, Driver, Interrupted, Stage, _Course
from stylogram.driver import run as drive
from stylogram.optimise import Settings
from stylogram.result import Result

from engine import fakes


class Parabola(fakes.Objective):
    """½‖x − 1‖² for N pictures."""

    name = "parabola"

    def __init__(self, n=2, spoil=None, start=0.0):
        super().__init__(n, spoil, start)

    def measure(self):
        np.subtract(self.picture, 1, out=self.gradient)
        self.total[:] = 0.5 * (self.gradient.astype(np.float64) ** 2).sum(axis=(1, 2, 3))


class Descent:
    """x ← x − rate · g, and what the optimisers' protocol asks for beside it."""

    def __init__(self, rate=0.5, recovers=False):
        self.rate, self.recovers = rate, recovers

    def step(self, picture, gradient, value):
        picture -= np.float32(self.rate) * gradient


def run(objective, optimiser=None, iterations=10, callback=None, **options):
    stage = Stage(objective, optimiser or Descent(), iterations)
    return Driver(callback, **options).run([lambda before: stage], 1)


def test_it_descends_and_traces_every_iteration():
    seen = []
    outcome = run(Parabola(), iterations=10, callback=seen.append)
    assert [row["iteration"] for row in outcome.trace] == list(range(11))
    losses = [row["loss"] for row in outcome.trace]
    assert losses[0] == 0.5 * 60
    np.testing.assert_allclose(losses, [30 * 0.25**k for k in range(11)])
    assert [progress.loss for progress in seen] == losses
    np.testing.assert_allclose(outcome.pictures, 1 - 0.5**10)
    seconds = [row["seconds"] for row in outcome.trace]
    assert seconds == sorted(seconds)


def test_each_picture_keeps_its_own_best():
    """Picture 0 is made worse from iteration 3 on, picture 1 from iteration 5 on: each returns what was best of it."""

    def spoil(objective):
        for index, last in enumerate((2, 4)):
            if objective.evaluations > last:
                objective.total[index] = 99.0

    outcome = run(Parabola(spoil=spoil), iterations=8)
    np.testing.assert_allclose(outcome.pictures[0], 1 - 0.5**2)
    np.testing.assert_allclose(outcome.pictures[1], 1 - 0.5**4)


def test_a_loss_that_becomes_nan_stops_and_keeps_the_last_good_picture():
    def spoil(objective):
        if objective.evaluations == 4:
            objective.total[:] = np.nan

    with pytest.raises(Diverged, match=r"nan \(parabola\) at scale 1, iteration 4; try .*--learning-rate") as caught:
        run(Parabola(spoil=spoil))
    np.testing.assert_allclose(caught.value.outcome.pictures, 1 - 0.5**3)
    assert len(caught.value.outcome.trace) == 4
    assert (caught.value.outcome.scale, caught.value.outcome.iteration) == (1, 3)


def test_a_gradient_that_overflows_stops_too():
    def spoil(objective):
        if objective.evaluations == 2:
            objective.gradient[0, 0, 0, 0] = np.inf

    with pytest.raises(Diverged, match="the gradient became infinite at scale 1, iteration 2"):
        run(Parabola(spoil=spoil))


def test_a_nan_that_is_taken_back_does_not_freeze_the_best_picture():
    def once(objective):
        if objective.evaluations == 1:
            objective.total[0] = np.nan

    outcome = run(Parabola(spoil=once), Descent(recovers=True), iterations=6)
    np.testing.assert_allclose(outcome.pictures, 1 - 0.5**6)


def test_an_optimiser_that_recovers_gets_its_chance_but_not_for_ever():
    def once(objective):
        if objective.evaluations == 4:
            objective.total[:] = np.inf

    assert len(run(Parabola(spoil=once), Descent(recovers=True)).trace) == 10  # all but the bad row of 11

    def always(objective):
        if objective.evaluations >= 4:
            objective.total[:] = np.inf

    objective = Parabola(spoil=always)
    with pytest.raises(Diverged, match="iteration 15"):
        run(objective, Descent(recovers=True), iterations=100)


class Bumpy(Descent):
    """The third step leads away from the minimum: the picture after it is not the best."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def step(self, picture, gradient, value):
        self.steps += 1
        picture += np.float32(-0.5 if self.steps != 3 else 0.5) * gradient


def test_a_callback_can_have_what_the_run_would_end_with():
    """The best picture so far and not the present one, clipped, its margin cut off; with the trace up to there."""
    seen = []

    def look(progress):
        result = progress.result()
        seen.append((progress.iteration, progress.rgb().mean(), result.exact.mean(), len(result.trace)))

    stage = Stage(Parabola(), Bumpy(), 4, margin=1)
    Driver(look).run([lambda before: stage], 1)
    iterations, present, best, rows = zip(*seen, strict=True)
    assert (iterations, rows) == ((0, 1, 2, 3, 4), (1, 2, 3, 4, 5))
    np.testing.assert_allclose(present, (0, 0.5, 0.75, 0.625, 0.8125))
    np.testing.assert_allclose(best, (0, 0.5, 0.75, 0.75, 0.8125))
    assert stage.objective.picture.shape[2:] == (4, 5)


def test_a_task_s_own_result_is_what_a_callback_gets():
    made = []

    def result(outcome):
        made.append((outcome.scale, outcome.iteration, len(outcome.trace)))
        return Result(np.zeros((2, 2, 3), np.float32), outcome.trace, depth=16)

    kept = []
    run(Parabola(), iterations=2, result=result, callback=lambda progress: kept.append(progress.result()))
    assert made == [(1, 0, 1), (1, 1, 2), (1, 2, 3)]
    assert [(one.depth, len(one.trace)) for one in kept] == [(16, 1), (16, 2), (16, 3)]


def test_ctrl_c_hands_out_the_best_picture_so_far():
    def press(progress):
        if progress.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run(Parabola(), callback=press)
    np.testing.assert_allclose(caught.value.outcome.pictures, 1 - 0.5**3)


def test_ctrl_c_before_the_next_scale_hands_out_the_scale_before():
    def stop(before):
        raise KeyboardInterrupt

    first = Stage(Parabola(), Descent(), 2)
    with pytest.raises(Interrupted) as caught:
        Driver().run([lambda before: first, stop], 2)
    np.testing.assert_allclose(caught.value.outcome.pictures, 0.75)


def test_a_stage_is_made_from_the_picture_of_the_one_before():
    given = []

    def second(before):
        given.append(before)
        return Stage(Parabola(start=2.0), Descent(), 1)

    outcome = Driver().run([lambda before: Stage(Parabola(), Descent(), 2), second], 2)
    np.testing.assert_allclose(given[0], 0.75)
    np.testing.assert_allclose(outcome.pictures, 1.5)
    assert [(row["scale"], row["iteration"]) for row in outcome.trace] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]


def test_tolerance_stops_when_the_loss_is_flat():
    flat = run(Parabola(), Descent(0.0), iterations=500, tolerance=1e-3, window=20)
    assert len(flat.trace) == 21
    bumps = Parabola(spoil=lambda objective: objective.total.__iadd__(9.0 * (objective.evaluations == 30)))
    assert len(run(bumps, Descent(0.02), iterations=40, tolerance=1e-3, window=20).trace) == 41
    falling = run(Parabola(), Descent(0.01), iterations=60, tolerance=1e-3, window=20)
    assert len(falling.trace) == 61


def test_flatness_is_that_of_the_least_losses_before_and_within_the_window():
    """At every iteration, of every picture, with losses that are no numbers among them, as from all losses kept."""
    window, tolerance, stopped = 4, 0.05, 0
    losses = np.random.default_rng(0).exponential(size=(60, 5)) * 0.97 ** np.arange(60)[:, None]
    losses[::7, 1] = np.nan
    losses[:9, 2] = np.nan
    course = _Course(5, {})
    for count, row in enumerate(losses, 1):
        course.going[:] = True
        course.stop_flat(row, tolerance, window)
        if count <= window:
            assert course.going.all()
            continue
        before, now = (np.fmin.reduce(part) for part in (losses[: count - window], losses[count - window : count]))
        flat = before - now < tolerance * np.abs(now)
        np.testing.assert_array_equal(course.going, ~flat)
        stopped += flat.sum()
    assert 0 < stopped < 5 * 56


def test_clamp_keeps_the_picture_in_its_range():
    objective = Parabola(start=0.9)
    stage = Stage(objective, Descent(-3.0), 3, clamp=True)  # ascends: it would leave [0, 1] at once
    Driver().run([lambda before: stage], 1)
    assert objective.picture.min() == 0


def test_the_trace_needs_no_numpy_to_be_written_as_json():
    import json

    assert json.loads(json.dumps(run(Parabola()).trace))[0]["terms"] == {"parabola": 30.0}


def test_settings_defaults_are_the_field_s():
    assert (Settings().history, Settings().beta1, Settings().beta2, Settings().epsilon) == (100, 0.9, 0.999, 1e-8)


def finished(stages, **options):
    """`driver.run` of these stages, its result the mean of the pictures."""
    count = len(stages)
    return drive(stages, count, lambda outcome: Result(outcome.pictures.mean(), outcome.trace), threads=1, **options)


def test_a_run_s_kernels_use_its_threads_and_afterwards_as_many_as_before():
    before, seen = _core.threads(), []
    _core.set_threads(before + 1)
    try:
        made = finished([lambda _: Stage(Parabola(), Descent(), 1)], callback=lambda _: seen.append(_core.threads()))
        assert seen == [1, 1]
        assert _core.threads() == before + 1
    finally:
        _core.set_threads(before)
    assert made.exact == 0.5


def test_a_run_that_stops_leaves_its_result():
    def stop(progress):
        if progress.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        finished([lambda _: Stage(Parabola(), Descent(), 9)], callback=stop)
    assert caught.value.result.exact == 0.75
    spoil = lambda objective: objective.total.__imul__(np.nan if objective.evaluations == 1 else 1)  # noqa: E731
    with pytest.raises(Diverged) as ended:
        finished([lambda _: Stage(Parabola(spoil=spoil), Descent(), 9)])
    assert ended.value.result.exact == 0.0


@pytest.mark.parametrize("task", ["stylize", "texture", "reconstruct", "maximize", "dream"])
def test_every_task_that_runs_says_that_its_callback_cannot_be_called(task):
    picture = np.random.default_rng(0).random((32, 32, 3), np.float32)
    pictures = {"stylize": (picture, picture), "maximize": ()}.get(task, (picture,))
    layer = {"octaves": 1} if task == "dream" else {}
    layer |= {"layer": "conv1_1"} if task in ("reconstruct", "maximize") else {}
    more = {"unit": "0"} if task == "maximize" else {}
    with pytest.raises(Error, match="callback: a function of one Progress is accepted, got 7"):
        getattr(stylogram, task)(*pictures, network="random", callback=7, size=32, iterations=1, **layer, **more)


@pytest.mark.parametrize("task", ["texture", "reconstruct", "dream"])
def test_threads_govern_the_kernels_of_every_task(task):
    picture, seen = np.random.default_rng(0).random((32, 32, 3), np.float32), []
    layer = {"reconstruct": {"layer": "conv1_1"}, "dream": {"octaves": 1}}.get(task, {})
    before = _core.threads()
    _core.set_threads(before + 1)
    try:
        look = lambda _: seen.append(_core.threads())  # noqa: E731
        getattr(stylogram, task)(picture, network="random", callback=look, size=32, iterations=1, threads=1, **layer)
    finally:
        _core.set_threads(before)
    assert set(seen) == {1}
