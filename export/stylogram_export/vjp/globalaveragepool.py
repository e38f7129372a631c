"""GlobalAveragePool: y = mean of x over its positions; dx = dy / positions everywhere."""

from ..rules import Example
from ..step import Step

ops = ("GlobalAveragePool",)


def vjp(step: Step) -> str:
    share = step.op("Div", step.gy, step.count(*range(2, len(step.shape()))), name="share")
    return step.op("Expand", share, step.shape_of())


examples = [
    Example("GlobalAveragePool", [(2, 3, 4, 5)], torch=lambda _, x: x.mean((2, 3), keepdim=True)),
    Example("GlobalAveragePool", [(2, 3, 4)], torch=lambda _, x: x.mean(2, keepdim=True), title="one axis"),
]
