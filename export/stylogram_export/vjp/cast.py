"""Cast: y = x in another precision; dx = dy in that of x. From or to integers there is no gradient."""

from onnx import TensorProto

from ..rules import Example
from ..step import Step

ops = ("Cast",)


def vjp(step: Step) -> str:
    return step.op("Cast", step.gy, to=step.element_type(step.node.input[0]))


examples = [
    Example("Cast", [(2, 3, 4, 5)], {"to": TensorProto.DOUBLE}, torch=lambda _, x: x * 1),
]
