"""Gemm: Y = α A B + β C, A and B possibly transposed; dA = α dY Bᵀ, dB = α Aᵀ dY, dC = β dY."""

from typing import Any

from ..broadcast import unbroadcast
from ..rules import Example, draw
from ..step import Gradients, Step

ops = ("Gemm",)


def vjp(step: Step) -> Gradients:
    a, b = step.attribute("transA", 0), step.attribute("transB", 0)
    alpha, beta = step.attribute("alpha", 1.0), step.attribute("beta", 1.0)
    found: Gradients = {}
    if step.wants(0):
        factors, flags = ((step.x(1), step.gy), (b, 1)) if a else ((step.gy, step.x(1)), (0, 1 - b))
        found[0] = _product(step, factors, flags, alpha)
    if step.wants(1):
        factors, flags = ((step.gy, step.x(0)), (1, a)) if b else ((step.x(0), step.gy), (1 - a, 0))
        found[1] = _product(step, factors, flags, alpha)
    if step.wants(2):
        found[2] = unbroadcast(step, step.mul(step.gy, step.const(beta)), 2)
    return found


def _product(step: Step, factors: tuple[str, str], flags: tuple[int, int], alpha: float) -> str:
    return step.op("Gemm", *factors, alpha=alpha, transA=flags[0], transB=flags[1])


def _case(transA: int, transB: int, title: str, both: bool = False) -> Example:
    def same(_: Any, a: Any, b: Any, c: Any) -> Any:
        return 0.5 * (a.T if transA else a) @ (b.T if transB else b) + 0.25 * c

    a, b, c = (4, 3)[:: -1 if transA else 1], (5, 4)[:: 1 if transB else -1], (3, 1)
    a = a[::-1]
    stated = {"alpha": 0.5, "beta": 0.25, "transA": transA, "transB": transB}
    return Example("Gemm", [a, b if both else draw(*b), c if both else draw(*c)], stated, torch=same, title=title)


examples = [
    Example("Gemm", [(3, 4), draw(4, 5)], torch=lambda _, a, b: a @ b),
    _case(0, 0, "plain"),
    _case(1, 0, "A transposed"),
    _case(0, 1, "B transposed"),
    _case(1, 1, "both transposed"),
    _case(0, 0, "three active", both=True),
    _case(0, 1, "three active, B transposed", both=True),
    _case(1, 0, "three active, A transposed", both=True),
    _case(1, 1, "three active, both transposed", both=True),
]
