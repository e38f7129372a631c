"""The names that programs give VGG's tensors, as ours; and what several formats share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Error
from ..graph import one_line
from ..models import recognise
from ..preprocess import Preprocess
from . import Weights

Tensors = Mapping[str, NDArray[Any]]
CLASSIFIER = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}  # torchvision's
EPSILON = 1e-5  # PyTorch's BatchNorm2d


def missing(library: str, path: Path) -> Error:
    """The Error for a library that a format needs and that is not installed."""
    return Error(f"{path}: reading this format needs {library}: pip install 'stylogram[weights]'")


def weights(path: Path, tensors: Tensors, preprocess: Preprocess | None, **provenance: str) -> Weights:
    """Weights of tensors with canonical names, their architecture recognised."""
    try:
        return Weights(tensors, preprocess, recognise(tensors), provenance)
    except Error as error:
        raise Error(f"{path}: {one_line(error)}") from error


def is_canonical(tensors: Tensors) -> bool:
    """Whether the keys are Gatys': conv1_1.weight."""
    return "conv1_1.weight" in tensors


def from_pytorch(path: Path, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Canonical names for torchvision's keys (features.N.weight) or Gatys' (conv1_1.weight). Error for others.

    Keys may carry a common prefix (`module.`, `vgg.`). Batch normalisation is folded into its convolution.
    """
    stripped = _without_prefix(tensors)
    if is_canonical(stripped):
        return {name: value for name, value in stripped.items() if name.startswith(("conv", "fc"))}
    if "features.0.weight" in stripped:
        return _from_torchvision(path, stripped)
    got = one_line(", ".join(list(tensors)[:5]), 160) or "none"
    raise Error(f"{path}: keys features.N.weight or conv1_1.weight are needed, got {got}, ...")


def _without_prefix(tensors: Tensors) -> dict[str, NDArray[Any]]:
    first = next((name for name in tensors if re.search(r"(features\.0|conv1_1)\.weight$", name)), "")
    prefix = re.sub(r"(features\.0|conv1_1)\.weight$", "", first)
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _from_torchvision(path: Path, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """features.N: conv, (batch norm,) ReLU, and a pool wherever a number is skipped between two convolutions."""
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"features\.(\d+)\.weight", name) for name in tensors) if m)
    convolutions = [n for n in numbers if tensors[f"features.{n}.weight"].ndim == 4]
    normalised = f"features.{convolutions[0] + 1}.running_var" in tensors
    step = 3 if normalised else 2
    made: dict[str, NDArray[Any]] = {}
    stage, index, last = 1, 0, convolutions[0] - step
    for number in convolutions:
        if number - last not in (step, step + 1):
            raise Error(f"{path}: features.{number} does not follow features.{last} as in a VGG")
        stage, index = (stage, index + 1) if number - last == step else (stage + 1, 1)
        last = number
        weight, bias = _plain(tensors, number, normalised)
        made |= {f"conv{stage}_{index}.weight": weight, f"conv{stage}_{index}.bias": bias}
    for key, name in CLASSIFIER.items():
        made |= {
            f"{name}.{part}": tensors[f"{key}.{part}"] for part in ("weight", "bias") if f"{key}.{part}" in tensors
        }
    return made


def _plain(tensors: Mapping[str, NDArray[Any]], number: int, normalised: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """A convolution's weights and bias, γ (x - mean) / √(var + ε) + β folded in."""
    weight = tensors[f"features.{number}.weight"]
    bias = tensors.get(f"features.{number}.bias", np.zeros(len(weight), np.float32))
    if not normalised:
        return weight, bias
    gamma, beta, mean, var = (
        tensors[f"features.{number + 1}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma / np.sqrt(var + EPSILON)
    return weight * gain[:, None, None, None], (bias - mean) * gain + beta


def oihw(kernel: NDArray[Any]) -> NDArray[Any]:
    """(H,W,I,O), as TensorFlow and MatConvNet store it, to (O,I,H,W)."""
    return kernel.transpose(3, 2, 0, 1)
