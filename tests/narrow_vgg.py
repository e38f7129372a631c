"""Small VGGs for tests: weights by our names, the same network in PyTorch, and features through ONNX Runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from stylogram_export.graph import cut, pictures
from stylogram_export.models import vgg

Array = NDArray[Any]
WIDTHS = (6, 8, 10, 12, 14)
FC = 20  # width of the classifier
CLASSES = 10


def weights(
    name: str = "vgg19", seed: int = 0, widths: Sequence[int] = WIDTHS, classifier: bool = False
) -> dict[str, Array]:
    """Orthogonal weights with small biases, so that a lost or swapped bias shows."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = dict(vgg.initial(vgg.STAGES[name], widths, seed))
    for key in [key for key in made if key.endswith("bias")]:
        made[key] = rng.uniform(-0.2, 0.2, made[key].shape).astype(np.float32)
    if classifier:
        sizes = (widths[-1] * 49, FC, FC, CLASSES)
        for layer, inputs, outputs in zip(("fc6", "fc7", "fc8"), sizes, sizes[1:], strict=False):
            made[f"{layer}.weight"] = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
            made[f"{layer}.bias"] = rng.uniform(-0.2, 0.2, outputs).astype(np.float32)
    return made


def torchvision_keys(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """features.N.weight and classifier.N.weight, numbered as torchvision numbers them."""
    made: dict[str, Array] = {}
    number = 0
    for stage, count in enumerate(vgg.counts_of(tensors), 1):
        for index in range(1, count + 1):
            for part in ("weight", "bias"):
                made[f"features.{number}.{part}"] = tensors[f"conv{stage}_{index}.{part}"]
            number += 2
        number += 1
    for layer, position in (("fc6", 0), ("fc7", 3), ("fc8", 6)):
        for part in ("weight", "bias"):
            if f"{layer}.{part}" in tensors:
                made[f"classifier.{position}.{part}"] = tensors[f"{layer}.{part}"]
    return made


class TorchVgg:
    """The same VGG in PyTorch, written independently of our graph."""

    def __init__(self, tensors: Mapping[str, Array], pooling: str = "max") -> None:
        self._tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
        self._counts = vgg.counts_of(tensors)
        self._pool = {"max": torch.nn.functional.max_pool2d, "avg": torch.nn.functional.avg_pool2d}[pooling]

    def __call__(self, x: Array) -> dict[str, Array]:
        """Every activation, by our names, for pictures (N,3,H,W) as the network wants them."""
        at, made = torch.from_numpy(x), {}
        for stage, count in enumerate(self._counts, 1):
            for index in range(1, count + 1):
                name = f"conv{stage}_{index}"
                at = torch.nn.functional.conv2d(
                    at, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], padding=1
                )
                made[f"{name}:linear"] = at
                made[name] = at = torch.relu(at)
            made[f"pool{stage}"] = at = self._pool(at, 2)
        if "fc6.weight" in self._tensors:
            at = at.flatten(1)
            for name in ("fc6", "fc7", "fc8"):
                at = torch.nn.functional.linear(at, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])
                at = at if name == "fc8" else torch.relu(at)
            made["logits"] = at
        return {name: value.numpy() for name, value in made.items()}


def features(model: onnx.ModelProto, outputs: Sequence[str], x: Array) -> dict[str, Array]:
    """The tensors `outputs` for x through ONNX Runtime."""
    part = cut(model, list(outputs))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(list(outputs), {pictures(part.graph)[0].name: x})
    return dict(zip(outputs, results, strict=True))


def picture(height: int = 40, width: int = 52, seed: int = 1, batch: int = 1) -> Array:
    """(N,3,H,W) float32 in [0,1]."""
    return np.random.default_rng(seed).random((batch, 3, height, width), np.float32)


def relative(got: Array, wanted: Array) -> float:
    """max |got - wanted| / max |wanted|."""
    return float(np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max())
