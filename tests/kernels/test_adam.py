"""Adam and gradient descent against torch's and against the formula in float64."""

import numpy as np
import pytest
from kernels.checks import Doubles, Tolerance, machine, randoms
from stylogram import _core

NEAR = Tolerance(2e-6, "fifty steps, each rounded a few times (6e-8) relative to numbers of about one")


def formula(gradients: Doubles, rate: float, beta1: float, beta2: float, epsilon: float) -> Doubles:
    """Kingma and Ba's algorithm 1 from ones."""
    x, m, v = np.ones_like(gradients[0]), 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        x = x - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return x


@pytest.mark.parametrize("d", [1, 7, 5000, 70_001])
@pytest.mark.parametrize("options", [{}, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}])
@pytest.mark.usefixtures("level", "threads")
def test_adam_is_the_formula(d: int, options: dict[str, float]) -> None:
    gradients, x = randoms(50, 2, d), np.ones((2, d), np.float32)
    adam = _core.Adam(2, d, learning_rate=0.02, **options)
    for gradient in gradients:
        adam.step(x, gradient)
    full = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8} | options
    expected = formula(gradients.astype(np.float64), 0.02, **full)
    NEAR.check(x, expected)
    with pytest.raises(AssertionError):
        NEAR.check(x * np.float32(1.001), expected)


@pytest.mark.usefixtures("level")
def test_adam_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    gradients, ours = randoms(30, 1, 3000), np.ones((1, 3000), np.float32)
    theirs = torch.ones(1, 3000, requires_grad=True)
    optimizer, adam = torch.optim.Adam([theirs], lr=0.02), _core.Adam(1, 3000, learning_rate=0.02)
    for gradient in gradients:
        theirs.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        adam.step(ours, gradient)
        NEAR.check(ours, theirs.detach().numpy().astype(np.float64))


@pytest.mark.usefixtures("level")
def test_threads_and_batch_change_no_bit() -> None:
    gradients = randoms(5, 3, 70_001)

    def run(of: slice) -> np.ndarray:
        x = np.ones((3, 70_001), np.float32)[of].copy()
        adam = _core.Adam(x.shape[0], 70_001, learning_rate=0.1)
        for gradient in gradients:
            adam.step(x, gradient[of].copy())
        return x

    together = run(slice(None))
    for threads in (1, 2, 5):
        with machine(threads=threads):
            assert (run(slice(None)) == together).all()
            assert (run(slice(1, 2)) == together[1:2]).all()


def test_the_rate_can_change_and_reset_forgets() -> None:
    adam, first, second = (
        _core.Adam(1, 9, learning_rate=0.1),
        np.zeros((1, 9), np.float32),
        np.zeros((1, 9), np.float32),
    )
    gradient = randoms(1, 9)
    adam.step(first, gradient)
    adam.step(first, gradient)
    adam.reset()
    adam.learning_rate = 0.2
    assert adam.learning_rate == 0.2
    adam.step(second, gradient)
    np.testing.assert_allclose(second, -0.2 * np.sign(gradient), rtol=1e-5)


@pytest.mark.parametrize("d", [1, 7, 70_001])
@pytest.mark.usefixtures("level", "threads")
def test_gradient_descent_is_the_formula(d: int) -> None:
    x, gradient = randoms(2, d), randoms(2, d, seed=1)
    expected = x.astype(np.float64) - 0.3 * gradient.astype(np.float64)
    _core.gradient_descent(x, gradient, 0.3)
    NEAR.check(x, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0, got 0"),
        ({"learning_rate": 0.1, "beta1": 1.0}, "beta1 and beta2 must be in [0, 1), got 1"),
        ({"learning_rate": 0.1, "epsilon": -1.0}, "epsilon must be >= 0, got -1"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Adam(1, 5, **options)
    assert str(caught.value) == f"[adam] {message}"
