"""The PyTorch baseline: a network to its last tap and our default losses, under torch.optim.LBFGS.

Written as a good PyTorch programmer would: frozen weights, ReLU in place, nothing computed beyond the last tap, Gram
matrices from views, targets computed once, one forward and one backward pass an iteration. The network is VGG-19 to
conv5_1 with the Gatys layers, or an ONNX network (graph.py).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Array = NDArray[np.float32]

STAGES = (2, 2, 4, 4, 1)
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT_LAYER = "conv4_2"
MODES = ("contiguous", "channels_last", "compile")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Work:
    """What a picture is compared by: a network that gives {layer: tensor}, and layers with weights that sum to one."""

    network: Callable[[torch.memory_format], nn.Module]
    content: Mapping[str, float]
    style: Mapping[str, float]


def vgg19(weights: Mapping[str, Array]) -> Work:
    """VGG-19 to conv5_1; weights "conv1_1.weight" (64, 3, 3, 3), "conv1_1.bias" (64,), ... to conv5_1."""
    style = dict.fromkeys(STYLE_LAYERS, 1 / len(STYLE_LAYERS))
    return Work(partial(Features, weights), {CONTENT_LAYER: 1.0}, style)


class Features(nn.Module):
    """Activations after the ReLUs of STYLE_LAYERS and CONTENT_LAYER: (1, 3, H, W) RGB in [0, 1] -> {layer: tensor}."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Mapping[str, Array], memory_format: torch.memory_format) -> None:
        super().__init__()
        self._memory_format = memory_format
        self.kind = torch.float32  # of the convolutions
        for name, values in zip(("mean", "deviation"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.convolutions = nn.ModuleDict()
        for stage, count in enumerate(STAGES, 1):
            for index in range(1, count + 1):
                name = f"conv{stage}_{index}"
                self.convolutions[name] = _convolution(weights, name, memory_format)
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        # The leaf stays in the usual layout: torch.optim.LBFGS flattens its gradient with .view(-1).
        x = ((picture - self.mean) / self.deviation).to(self.kind).contiguous(memory_format=self._memory_format)
        taps = {}
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "conv1_1":
                x = functional.max_pool2d(x, 2)
            x = functional.relu_(convolution(x))
            if name in STYLE_LAYERS or name == CONTENT_LAYER:
                taps[name] = x
        return taps


class Baseline:
    """One picture under optimisation, from the content picture on.

    loss = w_c mean over layers of ||F - P||^2 / ||P||^2 + w_s mean over layers of ||G - A||^2 / ||A||^2
    + w_t mean of squared differences, G = F F^T / (H W), the means weighted by layer. L-BFGS without
    line search: step 1, the first min(1, 1/||g||_1), history 100, no stop rules.

    Args:
        work: the network and the layers.
        content, style: RGB (H, W, 3) in [0, 1].
        mode: one of MODES; `compile` is torch.compile over features and losses together, in channels_last.
        threads: of PyTorch, for the whole process.
        loss_weights: of content, style, TV.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(
        self,
        work: Work,
        content: Array,
        style: Array,
        mode: str = "channels_last",
        threads: int = 2,
        loss_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; accepted: {', '.join(MODES)}")
        torch.set_num_threads(threads)
        memory_format = torch.contiguous_format if mode == "contiguous" else torch.channels_last
        self._features = work.network(memory_format)
        self._work, self._weights = work, loss_weights
        with torch.no_grad():
            self._grams = {name: gram(tap) for name, tap in self._taps(style) if name in work.style}
            self._content = {name: tap for name, tap in self._taps(content) if name in work.content}
        self.picture = _batch(content).requires_grad_()
        self._loss_of = torch.compile(self._losses, fullgraph=True) if mode == "compile" else self._losses
        self._optimiser = torch.optim.LBFGS(
            [self.picture], lr=1, max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0
        )
        self._loss = self._evaluate()

    @property
    def loss(self) -> float:
        """The loss of the present picture."""
        return float(self._loss)

    def iteration(self) -> float:
        """One step, then loss and gradient at the new point, which the next step takes; the loss there."""
        # LBFGS asks for loss and gradient at the point it is at: they are known, as in our own iteration.
        self._optimiser.step(lambda: self._loss)  # type: ignore[no-untyped-call]
        self._loss = self._evaluate()
        return self.loss

    def run(self, iterations: int) -> list[tuple[float, float]]:
        """(seconds since the call, loss) after each iteration."""
        started, trace = time.perf_counter(), []
        for _ in range(iterations):
            loss = self.iteration()
            trace.append((time.perf_counter() - started, loss))
        return trace

    def _taps(self, picture: Array) -> Iterable[tuple[str, Tensor]]:
        return self._features(_batch(picture)).items()  # type: ignore[no-any-return]

    def _evaluate(self) -> Tensor:
        self.picture.grad = None
        loss = self._loss_of(self.picture)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _losses(self, picture: Tensor) -> Tensor:
        taps = self._features(picture)
        content = [weight * _relative(taps[name], self._content[name]) for name, weight in self._work.content.items()]
        style = [weight * _relative(gram(taps[name]), self._grams[name]) for name, weight in self._work.style.items()]
        of_content, of_style = torch.stack(content).sum(), torch.stack(style).sum()
        return self._weights[0] * of_content + self._weights[1] * of_style + self._weights[2] * total_variation(picture)


def gram(features: Tensor) -> Tensor:
    """F F^T / (H W) of (1, C, H, W): (C, C), from a view in either layout."""
    _, channels, height, width = features.shape
    if features.is_contiguous():
        flat = features.view(channels, height * width)
        return flat @ flat.T / (height * width)
    flat = features.permute(0, 2, 3, 1).reshape(height * width, channels)
    return flat.T @ flat / (height * width)


def total_variation(picture: Tensor) -> Tensor:
    """The mean of all squared forward differences."""
    dx, dy = picture[..., :, 1:] - picture[..., :, :-1], picture[..., 1:, :] - picture[..., :-1, :]
    return (dx.square().sum() + dy.square().sum()) / (dx.numel() + dy.numel())


def _relative(value: Tensor, target: Tensor) -> Tensor:
    return (value - target).square().sum() / target.square().sum()


def _batch(picture: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)).clone()


def _convolution(weights: Mapping[str, Array], name: str, memory_format: torch.memory_format) -> nn.Conv2d:
    kernel = torch.from_numpy(np.ascontiguousarray(weights[f"{name}.weight"]))
    convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
    convolution.weight.data = kernel.clone(memory_format=memory_format)
    convolution.bias = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weights[f"{name}.bias"])).clone())
    return convolution
