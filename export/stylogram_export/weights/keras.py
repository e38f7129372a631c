"""Keras' .h5 (vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5): block1_conv1, H×W×in×out, BGR minus the mean."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Error
from ..layers import canonical
from ..preprocess import PREPROCESS
from . import Weights
from ._keys import missing, oihw, weights

NAME = "Keras (.h5)"
MAGIC = b"\x89HDF\r\n\x1a\n"
CLASSIFIER = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}


def recognise(head: bytes, path: Path) -> bool:  # noqa: ARG001
    """HDF5's signature."""
    return head.startswith(MAGIC)


def load(path: Path) -> Weights:
    """The layers that have weights; the file of a whole model keeps them under `model_weights`."""
    try:
        import h5py
    except ImportError as error:
        raise missing("h5py", path) from error
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            tensors: dict[str, NDArray[Any]] = {}
            for layer in _texts(group.attrs.get("layer_names", list(group))):
                tensors |= _tensors(path, layer, group[layer])
    except (OSError, KeyError, RuntimeError) as error:
        raise Error(f"{path}: not a Keras file of weights, or cut off: {str(error)[:160]}") from error
    return weights(path, _unflattened(path, tensors), PREPROCESS["caffe"])


def _texts(values: Any) -> list[str]:
    """Attributes are bytes in old files, str in new ones."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _tensors(path: Path, layer: str, group: Any) -> dict[str, NDArray[Any]]:
    """A layer's kernel and bias by the order of `weight_names`, which is (kernel, bias); {} for layers without."""
    names = _texts(group.attrs.get("weight_names", []))
    if not names:
        return {}
    values = [np.asarray(group[name]) for name in names]
    ours = CLASSIFIER.get(layer, canonical(layer))
    if len(values) != 2 or values[0].ndim not in (2, 4):
        shapes = ", ".join(str(value.shape) for value in values)
        raise Error(f"{path}: {layer} must have a kernel H×W×in×out and a bias, got {shapes}")
    kernel = oihw(values[0]) if values[0].ndim == 4 else values[0].T
    return {f"{ours}.weight": kernel, f"{ours}.bias": values[1]}


def _unflattened(path: Path, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """fc6 reads features flattened as (H,W,C) here, as (C,H,W) in our graph: it becomes a convolution (O,C,H,W)."""
    matrix = tensors.get("fc6.weight")
    if matrix is None:
        return tensors
    channels = [len(value) for name, value in tensors.items() if name.startswith("conv") and name.endswith(".weight")]
    size = round((matrix.shape[1] / channels[-1]) ** 0.5) if channels else 0
    if not channels or matrix.shape[1] != size * size * channels[-1]:
        raise Error(f"{path}: fc1 reads {matrix.shape[1]} features, which is no square of {channels[-1:]} channels")
    return {**tensors, "fc6.weight": matrix.reshape(-1, size, size, channels[-1]).transpose(0, 3, 1, 2)}
