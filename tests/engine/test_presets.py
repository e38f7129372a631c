"""Every preset against the program that it reproduces: loss, gradient, and the picture after some steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine.originals import ORIGINALS, STAGES
from stylogram.driver import Driver
from stylogram.optimise import Settings
from stylogram.recipes import PRESETS
from stylogram.tasks.stylize import Options, Stylization

from engine import nets

SIZE = (40, 56)
STEPS = 3
# It starts within 0.001 of the mean that the network subtracts: of what is left float32 holds two digits.
TOLERANCE = {"neural-style": 0.1}


def test_every_preset_has_an_original():
    assert set(ORIGINALS) == set(PRESETS) - {"default"}


@pytest.fixture(scope="module")
def weights():
    return nets.weights(STAGES)


@pytest.fixture(scope="module")
def pictures():
    return [nets.blocks(*SIZE, seed) for seed in (1, 2)]


def ours(name, weights, pictures):
    original = ORIGINALS[name]
    options = Options(
        network=nets.narrow(weights, STAGES, original.preprocess, PRESETS[name].pooling or "max"),
        preset=name, size=max(SIZE), scales=1, iterations=STEPS, seed=3,
    )  # fmt: skip
    return Stylization(pictures[0], [pictures[1]], options)


def theirs(name, weights, pictures):
    double = {key: torch.from_numpy(value).double() for key, value in weights.items()}
    content, style = (torch.from_numpy(p).double().permute(2, 0, 1)[None] for p in pictures)
    return ORIGINALS[name].objective(double, content, style)


@pytest.mark.parametrize("name", ORIGINALS)
def test_loss_and_gradient_are_the_original_s(name, weights, pictures):
    stage = ours(name, weights, pictures).stage(0, None)
    objective = stage.objective
    # Away from the initial picture, where several programs' content loss is zero.
    rng = np.random.default_rng(2)
    x = objective.picture
    x += rng.normal(0, 0.05 * stage.pixel_range, x.shape).astype("f4")
    objective.evaluate()
    z = torch.from_numpy(objective.picture).double().requires_grad_()
    loss = theirs(name, weights, pictures)(z)
    loss.backward()
    # float32 features against float64; the loss is a difference of Gram matrices of similar size
    assert objective.total[0] == pytest.approx(loss.item(), rel=2e-4)
    expected = z.grad.numpy()
    error = np.linalg.norm(objective.gradient - expected) / np.linalg.norm(expected)
    assert error < 2e-4


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_first_steps_are_the_original_s(name, weights, pictures, monkeypatch):
    """STEPS iterations from the same initial picture: same optimiser, same first step, same learning rate."""
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")  # L-BFGS makes much of the last bits
    original, work = ORIGINALS[name], ours(name, weights, pictures)
    stage = work.stage(0, None)
    start = stage.objective.picture.copy()
    Driver().run([lambda before: stage], 1)
    z = torch.from_numpy(start).double().requires_grad_()
    objective, optimiser = theirs(name, weights, pictures), original.optimiser(z)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: original.decay ** (step / 100))

    def closure():
        optimiser.zero_grad()
        loss = objective(z)
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimiser.step(closure)
        rates.step()
        if original.clamp:
            z.data.clamp_(0, 1)
    moved = z.detach().numpy() - start
    error = np.linalg.norm(stage.objective.picture - start - moved) / np.linalg.norm(moved)
    assert error < TOLERANCE.get(name, 3e-3)  # float32 against float64 through STEPS steps
    assert np.abs(moved).max() > 0


def test_initial_pictures(weights, pictures):
    """neural-style starts from faint noise about the mean, Coursera from a mixture, the others from the content."""
    content = pictures[0].transpose(2, 0, 1)[None]
    for name in ("gatys", "keras", "tutorial"):
        start = ours(name, weights, pictures).stage(0, None).objective.picture
        np.testing.assert_allclose(start / ORIGINALS[name].pixel_range, content, atol=1e-6)
    grey = ours("neural-style", weights, pictures).stage(0, None).objective.picture
    mean = np.array([123.68, 116.779, 103.939])
    np.testing.assert_allclose(grey.mean(axis=(0, 2, 3)), mean, rtol=1e-6)
    assert 0.0005 < grey.std(axis=(2, 3)).mean() < 0.002
    mixed = ours("coursera", weights, pictures).stage(0, None).objective.picture
    noise = (mixed - 0.4 * 255 * content) / 0.6 - mean.reshape(1, 3, 1, 1)
    assert np.abs(noise).max() <= 20.01
    assert noise.std() == pytest.approx(40 / np.sqrt(12), rel=0.03)


def test_a_network_says_which_weights_suit_it() -> None:
    """They go before the default preset's, never before what was given, and no other preset knows them."""
    default = PRESETS["default"]
    suited = default.suited({"style": 2000.0, "tv": 0.5}, 1.0, {"tv_weight": 3.0, "style_weight": None})
    assert (suited.style_weight, suited.tv_weight) == (2000.0, default.tv_weight)
    assert replace(suited, style_weight=default.style_weight) == default
    assert default.suited({}, 1.7, {}).optimiser.precondition == 1.7
    assert default.suited({}, 1.7, {"precondition": 1.2}).optimiser.precondition == 1.0
    adam = replace(default, optimiser=Settings("adam"))
    assert adam.suited({}, 1.7, {}) == adam
