"""BatchNormalization at inference: y = γ (x - μ) / √(σ² + ε) + β; dx = dy · γ / √(σ² + ε)."""

import numpy as np

from ..errors import Error
from ..graph import describe
from ..rules import Example, draw
from ..step import Step

ops = ("BatchNormalization",)


def vjp(step: Step) -> str:
    if step.attribute("training_mode", 0):
        raise Error(f"{describe(step.node)} is in training mode: export the network for inference")
    gamma, var = step.constant(1).astype(np.float64), step.constant(4).astype(np.float64)
    scale = gamma / np.sqrt(var + step.attribute("epsilon", 1e-5))
    return step.mul(step.gy, step.const(scale.reshape(-1, *[1] * (len(step.shape()) - 2)), "scale"))


STATE = [draw(3, seed=1), draw(3, seed=2), draw(3, seed=3), draw(3, seed=4, low=0.5, high=2)]

examples = [
    Example(
        "BatchNormalization",
        [(2, 3, 4, 5), *STATE],
        torch=lambda t, x, g, b, m, v: t.nn.functional.batch_norm(x, m, v, g, b),
    ),
    Example(
        "BatchNormalization",
        [(2, 3), *STATE],
        {"epsilon": 0.1},
        torch=lambda t, x, g, b, m, v: t.nn.functional.batch_norm(x, m, v, g, b, eps=0.1),
        title="no positions",
    ),
]
