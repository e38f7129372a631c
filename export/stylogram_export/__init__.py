"""Networks as ONNX graphs, and their gradients: what an optimiser of pictures runs on."""

from .backward import Derivative, differentiate
from .errors import Error

__all__ = ["Derivative", "Error", "differentiate"]
