"""MatConvNet's .mat (imagenet-vgg-verydeep-19.mat): a struct array `layers`, weights H×W×in×out, RGB minus the mean."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Error
from ..preprocess import Preprocess
from . import Weights
from ._keys import missing, oihw, weights

NAME = "MatConvNet (.mat)"
MAGIC = b"MATLAB 5.0 MAT-file"
HDF5_MAGIC = b"MATLAB 7.3 MAT-file"


def recognise(head: bytes, path: Path) -> bool:  # noqa: ARG001
    """MATLAB's own header, of either generation."""
    return head.startswith((MAGIC, HDF5_MAGIC))


def load(path: Path) -> Weights:
    """The layers that have weights, by their names (conv1_1, ..., fc8); the mean is taken from the file."""
    with path.open("rb") as file:
        hdf5 = file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    if hdf5:
        raise Error(
            f"{path}: MATLAB 7.3 (HDF5) is not accepted; save it with save(..., '-v7'), as MatConvNet's files are"
        )
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise missing("SciPy", path) from error
    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True)
    except Exception as error:  # SciPy's reader raises whatever a broken file makes it stumble over
        raise Error(f"{path}: not a MATLAB 5 file, or cut off: {type(error).__name__}: {str(error)[:120]}") from error
    if "layers" not in content:
        names = ", ".join(name for name in content if not name.startswith("__"))
        raise Error(f"{path}: MatConvNet's `layers` is needed, got {names or 'nothing'}")
    tensors: dict[str, NDArray[Any]] = {}
    for layer in np.atleast_1d(content["layers"]):
        tensors |= _tensors(path, layer)
    return weights(path, tensors, Preprocess("RGB", 255.0, _mean(path, content)))


def _tensors(path: Path, layer: Any) -> dict[str, NDArray[Any]]:
    """`weights` {filters, biases}, or in the oldest files `filters` and `biases`; a layer without has none."""
    pair = getattr(layer, "weights", None)
    if pair is None and hasattr(layer, "filters"):
        pair = (layer.filters, layer.biases)
    if pair is None or len(pair) != 2:
        return {}
    name, kernel, bias = str(layer.name), np.asarray(pair[0]), np.atleast_1d(pair[1]).ravel()
    if kernel.ndim == 2:  # squeezed: 1×1 kernels
        kernel = kernel[None, None]
    if kernel.ndim != 4:
        raise Error(f"{path}: {name} must have weights H×W×in×out, got {kernel.shape}")
    return {f"{name}.weight": oihw(kernel), f"{name}.bias": bias}


def _mean(path: Path, content: dict[str, Any]) -> tuple[float, float, float]:
    """meta.normalization.averageImage, or normalization.averageImage in older files: a colour, or a picture of it."""
    normalization = getattr(content.get("meta"), "normalization", None)
    normalization = content.get("normalization") if normalization is None else normalization
    average = getattr(normalization, "averageImage", None)
    if average is None or np.size(average) % 3:
        raise Error(f"{path}: meta.normalization.averageImage, three numbers or a picture, is needed; it is not there")
    red, green, blue = np.asarray(average, np.float64).reshape(-1, 3).mean(0)
    return float(red), float(green), float(blue)
