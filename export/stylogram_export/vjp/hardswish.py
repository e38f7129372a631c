"""HardSwish: y = x h, h = min(max(x / 6 + 1/2, 0), 1); dx = dy · (h + x / 6 · [0 < h < 1])."""

from ..rules import Example
from ..step import Step

ops = ("HardSwish",)


def vjp(step: Step) -> str:
    h = step.op("HardSigmoid", step.x(), name="h", alpha=1 / 6, beta=0.5)
    rising = step.mul(step.positive(h), step.positive(step.sub(step.const(1), h, name="rest")), name="rising")
    slope = step.add(h, step.mul(step.x(), rising, step.const(1 / 6), name="ramp"), name="slope")
    return step.mul(step.gy, slope)


examples = [
    Example("HardSwish", [(2, 3, 4, 5)], torch=lambda t, x: t.nn.functional.hardswish(x), span=(-5, 5)),
]
