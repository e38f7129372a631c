"""LRN: y = x / sᵝ, s = bias + α/size · (sum of x² over neighbouring channels);
dx = dy / sᵝ - 2 α β / size · x · (sum over the channels whose neighbour it is of dy · y / s).

A sum over neighbouring channels is a 1×1 convolution with a band of ones.
"""

import numpy as np

from ..graph import Array
from ..rules import Example
from ..step import Step

ops = ("LRN",)


def vjp(step: Step) -> str:
    size, alpha, beta = step.attribute("size"), step.attribute("alpha", 1e-4), step.attribute("beta", 0.75)
    x, y = step.x(), step.y()
    band = _band(step.size(1), size).reshape(step.size(1), -1, *[1] * (len(step.shape()) - 2))
    near, back = step.const(band, "near"), step.const(band.swapaxes(0, 1), "back")
    total = step.op("Conv", step.mul(x, x, name="square"), near, name="sum")
    scaled = step.mul(total, step.const(alpha / size), name="scaled")
    s = step.add(scaled, step.const(step.attribute("bias", 1.0)), name="s")
    own = step.op("Div", step.gy, step.op("Pow", s, step.const(beta), name="power"), name="own")
    seen = step.op("Conv", step.op("Div", step.mul(step.gy, y, name="part"), s, name="part"), back, name="seen")
    return step.sub(own, step.mul(x, seen, step.const(2 * alpha * beta / size), name="others"))


def _band(channels: int, size: int) -> Array:
    """band[i, j] = 1 if channel j is in the window of channel i: (size - 1) // 2 below it to size // 2 above it."""
    ahead = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    return ((ahead >= -((size - 1) // 2)) & (ahead <= size // 2)).astype(np.float64)


examples = [
    Example(
        "LRN",
        [(2, 7, 4, 5)],
        {"size": 5, "alpha": 0.3},
        torch=lambda t, x: t.nn.functional.local_response_norm(x, 5, 0.3, 0.75, 1.0),
    ),
    Example("LRN", [(2, 6, 3, 4)], {"size": 4, "alpha": 2.0, "beta": 0.5, "bias": 1.5}, title="even"),
    Example("LRN", [(2, 2, 3, 4)], {"size": 7, "alpha": 2.0}, title="wider than the channels"),
]
