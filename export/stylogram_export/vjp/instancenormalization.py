"""InstanceNormalization: y = γ n + β, n = (x - mean) / σ over the positions of each channel;
dx = γ / σ · (dy - mean dy - n · mean(dy · n)).
"""

from ..moments import normalised
from ..rules import Example, draw
from ..step import Step

ops = ("InstanceNormalization",)


def vjp(step: Step) -> str:
    axes = range(2, len(step.shape()))
    scale = step.constant(1).reshape(-1, *[1] * len(axes))
    return normalised(step, step.mul(step.gy, step.const(scale, "scale"), name="scaled"), axes)


examples = [
    Example(
        "InstanceNormalization",
        [(2, 3, 4, 5), draw(3), draw(3, seed=1)],
        torch=lambda t, x, g, b: t.nn.functional.instance_norm(x, weight=g, bias=b),
    ),
    Example(
        "InstanceNormalization",
        [(2, 3, 7), draw(3), draw(3, seed=1)],
        {"epsilon": 0.1},
        torch=lambda t, x, g, b: t.nn.functional.instance_norm(x, weight=g, bias=b, eps=0.1),
        title="one axis",
    ),
]
