"""The programs that the presets reproduce, written again in PyTorch and float64 from their published formulas.

Independent of stylogram: only the weights' dictionary is shared. z is the picture (1,3,H,W), RGB, in its own range.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STAGES = (2, 2, 4, 4, 4)
CAFFE = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
GATYS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def caffe(z: Tensor) -> Tensor:
    return z[:, [2, 1, 0]] - CAFFE


def imagenet(z: Tensor) -> Tensor:
    return (z - MEAN) / STD


def features(x: Tensor, weights: dict[str, Tensor], pool: Callable[..., Tensor] = F.max_pool2d) -> dict[str, Tensor]:
    """Every activation of a VGG, after the ReLU under its name and before it under name:linear."""
    found = {}
    for stage, count in enumerate(STAGES, 1):
        for index in range(1, count + 1):
            name = f"conv{stage}_{index}"
            x = found[f"{name}:linear"] = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
            x = found[name] = F.relu(x)
        if stage < len(STAGES):
            x = pool(x, 2)
    return found


def raw_gram(f: Tensor) -> Tensor:
    flat = f.flatten(2)[0]
    return flat @ flat.T


def neural_style(x: dict, c: dict, s: dict, z: Tensor) -> Tensor:
    loss = 5 * F.mse_loss(x["conv4_2"], c["conv4_2"])
    for name in GATYS:
        loss = loss + 100 * F.mse_loss(raw_gram(x[name]) / x[name].numel(), raw_gram(s[name]) / s[name].numel())
    dx, dy = z[..., :-1, 1:] - z[..., :-1, :-1], z[..., 1:, :-1] - z[..., :-1, :-1]
    return loss + 1e-3 * 0.5 * (dx**2 + dy**2).sum()


def gatys(x: dict, c: dict, s: dict, z: Tensor) -> Tensor:
    loss = F.mse_loss(x["conv4_2"], c["conv4_2"])
    for name in GATYS:
        channels, positions = x[name].shape[1], x[name][0, 0].numel()
        style = raw_gram(s[name]) / s[name][0, 0].numel()
        loss = loss + 1e3 / channels**2 * F.mse_loss(raw_gram(x[name]) / positions, style)
    return loss


def keras(x: dict, c: dict, s: dict, z: Tensor) -> Tensor:
    rows, columns = z.shape[2:]
    loss = 2.5e-8 * ((x["conv5_2"] - c["conv5_2"]) ** 2).sum()
    for name in GATYS:
        difference = raw_gram(s[name]) - raw_gram(x[name])
        loss = loss + 1e-6 / 5 * (difference**2).sum() / (4 * 3**2 * (rows * columns) ** 2)
    a = (z[..., :-1, :-1] - z[..., 1:, :-1]) ** 2
    b = (z[..., :-1, :-1] - z[..., :-1, 1:]) ** 2
    return loss + 1e-6 * ((a + b) ** 1.25).sum()


def coursera(x: dict, c: dict, s: dict, z: Tensor) -> Tensor:
    loss = 10 * ((x["conv4_2"] - c["conv4_2"]) ** 2).sum() / (4 * x["conv4_2"].numel())
    for name in GATYS:
        channels, positions = x[name].shape[1], x[name][0, 0].numel()
        difference = raw_gram(s[name]) - raw_gram(x[name])
        loss = loss + 40 * 0.2 * (difference**2).sum() / (4 * channels**2 * positions**2)
    return loss


def tutorial(x: dict, c: dict, s: dict, z: Tensor) -> Tensor:
    loss = F.mse_loss(x["conv2_2:linear"], c["conv2_2:linear"])
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"):
        f, a = x[f"{name}:linear"], s[f"{name}:linear"]
        loss = loss + 1e6 * F.mse_loss(raw_gram(f) / f.numel(), raw_gram(a) / a.numel())
    return loss


@dataclass(frozen=True)
class Original:
    """One program: its loss, preprocessing, pixel range, pooling and optimiser."""

    loss: Callable[[dict, dict, dict, Tensor], Tensor]
    preprocess: str
    pixel_range: float
    optimiser: Callable[[Tensor], torch.optim.Optimizer]
    pool: Callable[..., Tensor] = F.max_pool2d
    decay: float = 1.0
    clamp: bool = False

    def objective(self, weights: dict[str, Tensor], content: Tensor, style: Tensor) -> Callable[[Tensor], Tensor]:
        """z -> loss, for content and style (1,3,H,W) in [0,1]."""
        prepare = {"caffe": caffe, "imagenet": imagenet}[self.preprocess]

        def activations(z: Tensor) -> dict[str, Tensor]:
            return features(prepare(z), weights, self.pool)

        with torch.no_grad():
            c, s = activations(content * self.pixel_range), activations(style * self.pixel_range)
        return lambda z: self.loss(activations(z), c, s, z)


def _lbfgs(z: Tensor) -> torch.optim.Optimizer:
    return torch.optim.LBFGS([z], max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0)


ORIGINALS = {
    "neural-style": Original(neural_style, "caffe", 256.0, _lbfgs),
    "gatys": Original(gatys, "caffe", 255.0, _lbfgs),
    "keras": Original(keras, "caffe", 255.0, lambda z: torch.optim.SGD([z], lr=100.0), decay=0.96),
    "coursera": Original(coursera, "caffe", 255.0, lambda z: torch.optim.Adam([z], lr=2.0), pool=F.avg_pool2d),
    "tutorial": Original(tutorial, "imagenet", 1.0, _lbfgs, clamp=True),
}
