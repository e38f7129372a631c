"""The PyTorch baseline does the work that it is said to do: otherwise the comparison with it says nothing."""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the baseline is PyTorch's")
baseline = importlib.import_module("stylogram_bench.baseline")

Array = npt.NDArray[np.float32]
WIDTHS = (4, 6, 8, 10, 12)  # of VGG-19's stages here; the real ones take seconds
SIZE = (48, 64)


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    rng, channels, tensors = np.random.default_rng(0), 3, {}
    for stage, (count, width) in enumerate(zip(baseline.STAGES, WIDTHS, strict=True), 1):
        for index in range(1, count + 1):
            kernel = rng.standard_normal((width, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
            tensors[f"conv{stage}_{index}.weight"] = kernel.astype(np.float32)
            tensors[f"conv{stage}_{index}.bias"] = (0.1 * rng.standard_normal(width)).astype(np.float32)
            channels = width
    return tensors


def picture(seed: int) -> Array:
    return np.random.default_rng(seed).random((*SIZE, 3), np.float32)


def features(weights: dict[str, Array], rgb: Array) -> dict[str, npt.NDArray[np.float64]]:
    """VGG-19's ReLUs by hand, in float64: windows and a tensor product."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((rgb.astype(np.float64) - mean) / deviation).transpose(2, 0, 1)
    taps = {}
    for name in (key.removesuffix(".weight") for key in weights if key.endswith(".weight")):
        if name.endswith("_1") and name != "conv1_1":
            _, height, width = x.shape
            x = x.reshape(-1, height // 2, 2, width // 2, 2).max(axis=(2, 4))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        kernel, bias = weights[f"{name}.weight"].astype(np.float64), weights[f"{name}.bias"][:, None, None]
        x = taps[name] = np.maximum(np.einsum("cijkl,ockl->oij", windows, kernel) + bias, 0)
    return taps


def loss(weights: dict[str, Array], rgb: Array, content: Array, style: Array) -> float:
    """2 content + 3 style + 5 TV, from the formulas."""

    def gram(f: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        flat = f.reshape(len(f), -1)
        return flat @ flat.T / flat.shape[1]

    def relative(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
        return float(((a - b) ** 2).sum() / (b**2).sum())

    own, goal, look = (features(weights, image) for image in (rgb, content, style))
    layers = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    style_loss = np.mean([relative(gram(own[name]), gram(look[name])) for name in layers])
    differences = [np.diff(rgb.astype(np.float64), axis=axis).ravel() ** 2 for axis in (0, 1)]
    tv = np.concatenate(differences).mean()
    return 2 * relative(own["conv4_2"], goal["conv4_2"]) + 3 * float(style_loss) + 5 * float(tv)


def make(weights: dict[str, Array], mode: str) -> Any:
    return baseline.Baseline(
        baseline.vgg19(weights), picture(1), picture(2), mode=mode, threads=1, loss_weights=(2.0, 3.0, 5.0)
    )


@pytest.mark.parametrize("mode", ["contiguous", "channels_last"])
def test_the_loss_is_the_formula_s(weights: dict[str, Array], mode: str) -> None:
    run = make(weights, mode)
    assert run.loss == pytest.approx(loss(weights, picture(1), picture(1), picture(2)), rel=1e-5)
    trace = run.run(20)
    now = run.picture.detach().numpy()[0].transpose(1, 2, 0)
    # float32 through nine layers and sums of thousands of squares
    assert trace[-1][1] == pytest.approx(loss(weights, now, picture(1), picture(2)), rel=1e-5)
    assert trace[-1][1] < 0.7 * loss(weights, picture(1), picture(1), picture(2))
    assert [seconds for seconds, _ in trace] == sorted(seconds for seconds, _ in trace)


def test_iterations_are_those_of_torch_lbfgs_with_an_ordinary_closure(weights: dict[str, Array]) -> None:
    run, plain = make(weights, "contiguous"), make(weights, "contiguous")
    x = plain.picture.detach().clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [x], lr=1, max_iter=8, max_eval=100, history_size=100, tolerance_grad=0, tolerance_change=0
    )

    def closure() -> Any:
        optimiser.zero_grad()
        value = plain._losses(x)
        value.backward()
        return value

    optimiser.step(closure)
    run.run(8)
    np.testing.assert_allclose(run.picture.detach().numpy(), x.detach().numpy(), atol=1e-6)


def test_modes_are_one_another_s_equal_and_others_are_refused(weights: dict[str, Array]) -> None:
    first, second = make(weights, "contiguous"), make(weights, "channels_last")
    np.testing.assert_allclose(first.picture.grad, second.picture.grad, rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match="accepted: contiguous, channels_last, compile"):
        make(weights, "fast")
