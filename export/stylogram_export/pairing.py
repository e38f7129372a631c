"""A pair of graphs for other programs: which convolutions are in it, and what tells it from every other pair."""

import hashlib
from collections.abc import Sequence

import onnx

from . import winograd
from .backward import Derivative, differentiate
from .errors import Error, one_of

CONVOLUTIONS = ("direct", "winograd")


def derivative_of(
    model: onnx.ModelProto, taps: Sequence[str], shape: Sequence[int | None], relu: str, convolution: str
) -> Derivative:
    """differentiate(), with "winograd" the library's op where it fits. Raises Error for winograd with an open side."""
    if convolution not in CONVOLUTIONS:
        raise one_of("convolution", convolution, CONVOLUTIONS)
    if convolution == "winograd" and None in shape:
        given = ",".join("?" if side is None else str(side) for side in shape)
        raise Error(f"winograd's convolutions are made for one size: a shape without ? is accepted, got {given}")
    derivative = differentiate(model, taps, shape, relu)
    return winograd.rewrite(derivative) if convolution == "winograd" else derivative


def identity(models: Sequence[onnx.ModelProto]) -> str:
    """Half of the SHA-256 over the models, in hexadecimal: the same for the same graphs, weights and metadata."""
    content = hashlib.sha256()
    for model in models:
        content.update(hashlib.sha256(model.SerializeToString(deterministic=True)).digest())
    return content.hexdigest()[:32]
