"""Log: y = ln x; dx = dy / x."""

from ..rules import Example
from ..step import Step

ops = ("Log",)


def vjp(step: Step) -> str:
    return step.op("Div", step.gy, step.x())


examples = [
    Example("Log", [(2, 3, 4, 5)], torch=lambda t, x: t.log(x), span=(0.2, 3)),
]
