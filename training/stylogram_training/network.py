"""The network while it learns: a VGG with batch normalisation, and the heads that ask it what it sees."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .scenes import SHAPES

WIDTHS = ((48, 32), (64, 64), (128, 128), (192, 192), (192,))
FIRST = 5  # the side of the first filters
CONTENT = 3  # the stage, from 0, whose last features say what lies where
WINDOW = 32  # pixels: the side of the windows whose statistics name a texture


def convolutions() -> list[str]:
    """conv1_1, conv1_2, conv2_1, ..."""
    return [f"conv{i}_{k}" for i, stage in enumerate(WIDTHS, 1) for k in range(1, len(stage) + 1)]


class Body(nn.Module):
    """Convolution, normalisation, ReLU; average pooling between the stages. The picture is in [-1,1]."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name, width in zip(convolutions(), (w for stage in WIDTHS for w in stage), strict=True):
            size = FIRST if channels == 3 else 3
            self.add_module(name, nn.Conv2d(channels, width, size, padding=size // 2, bias=False))
            self.add_module(f"{name}_norm", nn.BatchNorm2d(width, momentum=0.05))
            channels = width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The features after every ReLU by name, from (N,3,H,W)."""
        features: dict[str, Tensor] = {}
        for name in convolutions():
            if name.endswith("_1") and name != "conv1_1":
                x = functional.avg_pool2d(x, 2)
            x = functional.relu(getattr(self, f"{name}_norm")(getattr(self, name)(x)))
            features[name] = x
        return features


class Statistics(torch.autograd.Function):
    """Mean and root mean square of features (N,C,h,w) over count × count windows: (N,count,count,2C).

    Written out, since PyTorch's own pooling takes twice the time of all convolutions here.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, count: int) -> Tensor:
        """Both, in float32."""
        windows = _windows(features, count)
        mean = windows.mean((2, 4)).float()
        area = windows.shape[2] * windows.shape[4]
        power = torch.linalg.vector_norm(windows, dim=(2, 4)).float() / area**0.5
        ctx.save_for_backward(features, power)
        return torch.cat([mean, power], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """d mean = 1/area, d power = x / (area · power)."""
        features, power = ctx.saved_tensors
        windows = _windows(features, power.shape[1])
        by_mean, by_power = (gradients[0] / (windows.shape[2] * windows.shape[4])).chunk(2, -1)
        by_power = by_power / (power + 1e-3)
        by_mean, by_power = (g.to(features.dtype)[:, :, None, :, None] for g in (by_mean, by_power))
        made = torch.addcmul(by_mean, windows, by_power)
        return made.reshape(features.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2), None


def _windows(features: Tensor, count: int) -> Tensor:
    """(N,C,h,w) -> (N,count,h/count,count,w/count,C)."""
    n, channels, height, width = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, count, height // count, count, width // count, channels)


class Heads(nn.Module):
    """What is asked: the texture, from every layer's means and deviations in a window, and densely from the last two
    stages; the kind of thing; edges and their directions."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = dict(zip(convolutions(), (w for stage in WIDTHS for w in stage), strict=True))
        self.statistics = nn.ModuleDict(
            {name: nn.Sequential(nn.BatchNorm1d(2 * w), nn.Linear(2 * w, classes)) for name, w in widths.items()}
        )
        self.texture = nn.ModuleDict({name: nn.Conv2d(widths[name], classes, 1) for name in ("conv4_2", "conv5_1")})
        self.shape = nn.Conv2d(widths["conv4_2"], len(SHAPES), 1)
        self.edge = nn.ModuleDict({name: nn.Conv2d(widths[name], 1, 1) for name in ("conv1_2", "conv2_2", "conv3_2")})
        self.direction = nn.ModuleDict({name: nn.Conv2d(widths[name], 2, 1) for name in ("conv2_2", "conv3_2")})

    def losses(self, features: dict[str, Tensor], labels: dict[str, Tensor]) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of everything that is asked. `labels` as dataset.py keeps them, cropped."""
        for name, head in self.statistics.items():
            yield f"window {name}", 0.25, self._window(head, features[name], labels["texture"])
        for name, head in self.texture.items():
            scores = head(features[name])
            yield f"texture {name}", 0.5, _cross_entropy(scores, _coarser(labels["texture"], scores.shape[-1]))
        scores = self.shape(features["conv4_2"])
        yield "shape", 0.5, _cross_entropy(scores, _coarser(labels["shape"], scores.shape[-1]))
        edge = labels["edge"][:, None].float()
        for name, head in self.edge.items():
            scores = head(features[name]).float()
            wanted = functional.adaptive_max_pool2d(edge, min(scores.shape[-1], edge.shape[-1]))
            scores = functional.adaptive_avg_pool2d(scores, wanted.shape[-1])
            heavier = torch.tensor(4.0)
            yield f"edge {name}", 0.5, functional.binary_cross_entropy_with_logits(scores, wanted, pos_weight=heavier)
        for name, head in self.direction.items():
            wanted = labels["direction"].float() / 127
            found = functional.adaptive_avg_pool2d(head(features[name]).float(), wanted.shape[-1])
            sure = wanted.square().sum(1, keepdim=True)
            yield f"direction {name}", 0.5, ((found - wanted).square() * sure).sum() / sure.sum().clamp(min=1)

    def _window(self, head: nn.Module, features: Tensor, texture: Tensor) -> Tensor:
        """The texture of every window that shows one alone, from mean and root mean square of its features."""
        count = texture.shape[-1] * 4 // WINDOW
        statistics = cast(Tensor, Statistics.apply(features, count)).flatten(0, 2)  # type: ignore[no-untyped-call]
        wanted = _coarser(texture, count).flatten()
        known = wanted >= 0
        return functional.cross_entropy(head(statistics[known]).float(), wanted[known], label_smoothing=0.05)


def _coarser(labels: Tensor, side: int) -> Tensor:
    """The label of every block, below 0 where it has several or none."""
    n, size, _ = labels.shape
    blocks = labels.view(n, side, size // side, side, size // side).transpose(2, 3).flatten(3).long()
    same = (blocks == blocks[..., :1]).all(-1)
    return torch.where(same, blocks[..., 0], -1)


def _cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    """Over the places (N,h,w) whose label is known."""
    known = wanted >= 0
    return functional.cross_entropy(scores.float().permute(0, 2, 3, 1)[known], wanted[known], label_smoothing=0.05)
