"""LayerNormalization: y = γ n + β, n = (x - mean) / σ over the axes from `axis` on;
dx = 1 / σ · (γ dy - mean(γ dy) - n · mean(γ dy · n)).
"""

from ..moments import normalised
from ..rules import Example, draw
from ..step import Step

ops = ("LayerNormalization",)


def vjp(step: Step) -> str:
    rank = len(step.shape())
    return normalised(step, step.mul(step.gy, step.x(1), name="scaled"), range(step.attribute("axis", -1) % rank, rank))


examples = [
    Example(
        "LayerNormalization",
        [(2, 3, 4, 5), draw(5), draw(5, seed=1)],
        torch=lambda t, x, g, b: t.nn.functional.layer_norm(x, (5,), g, b),
    ),
    Example(
        "LayerNormalization",
        [(2, 3, 4), draw(3, 4)],
        {"axis": 1, "epsilon": 0.1},
        torch=lambda t, x, g: t.nn.functional.layer_norm(x, (3, 4), g, eps=0.1),
        title="two axes",
    ),
]
