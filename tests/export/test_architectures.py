"""Whole networks: the nine of the onnx package and SqueezeNet with trained weights."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import NAMES, light, squeezenet, torch_gradient, with_weights
from stylogram_export import differentiate
from stylogram_export.graph import cut
from vjp_checks import Runtime, difference_error, gradients_at

# float32 against float64: each of up to 120 layers rounds, and rounding flips some ReLUs and maxima that were all but ties.
CLOSE = {"values": 1e-4, "gradient": 5e-3}


@cache
def network(name: str) -> onnx.ModelProto:
    """A light model with random weights and a thin classifier, without the softmax at its end."""
    model = light(name)
    last = model.graph.node[-1]
    logits = last.input[0] if last.op_type == "Softmax" else last.output[0]
    return with_weights(cut(model, [logits]))


def relus(model: onnx.ModelProto) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type == "Relu"]


def some(model: onnx.ModelProto) -> tuple[str, ...]:
    """The first ReLU, one in the middle and the logits."""
    found = relus(model)
    return found[0], found[len(found) // 2], model.graph.output[0].name


def picture(size: int, seed: int = 0) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(seed).standard_normal((1, 3, size, size), dtype=np.float32)


def direction_error(pair: Runtime, x: np.ndarray, h: float) -> float:
    """Relative error of the derivative along the gradient itself, where rounding is smallest beside it."""
    made = pair.forward(x)
    gy = gradients_at(pair.pair.taps, made)
    gx = pair.backward(made, gy).astype(np.float64)
    v = (gx / np.linalg.norm(gx)).astype(np.float32)
    above, below = pair.forward(x + np.float32(h) * v), pair.forward(x - np.float32(h) * v)
    numeric = sum(
        float((gy[f"gy:{t}"].astype(np.float64) * (above[t].astype(np.float64) - below[t])).sum()) for t in pair.pair.taps
    )
    return abs(numeric / (2 * h) / float((gx * v).sum()) - 1)
