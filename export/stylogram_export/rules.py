"""The table of gradient rules: every module in `vjp/`, one op (or one family) each.

A rule module has a docstring that starts with the formula, and

- `ops`: the names of the ONNX ops that it is for,
- `vjp(step)`: adds nodes to the backward graph; returns the gradient's name for input 0, or `{input: name}`,
- `examples`: small nodes on which the tests check it,
- `broadcasts = True` if inputs broadcast against each other: the walk then sums gradients back to their shapes.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from . import vjp as directory
from .errors import Error
from .graph import Array
from .step import Gradients, Step

RELU_MODES = ("gradient", "deconvnet", "guided")

# The derivative is zero wherever there is one: these block the way back, and that is no mistake.
ZERO = frozenset(
    (
        "And",
        "ArgMax",
        "ArgMin",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "Ceil",
        "Constant",
        "ConstantOfShape",
        "Equal",
        "EyeLike",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "IsInf",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "NonZero",
        "Not",
        "OneHot",
        "Or",
        "RandomNormalLike",
        "RandomUniformLike",
        "Range",
        "Round",
        "Shape",
        "Sign",
        "Size",
        "Xor",
    )
)

# No rule can be right for these: why, for the message.
NOT_DIFFERENTIABLE = {
    "Bernoulli": "it draws random numbers",
    "DequantizeLinear": "the network is quantised; use the float one",
    "Det": "it is for matrices, not for features",
    "DynamicQuantizeLinear": "it rounds",
    "If": "it branches",
    "Loop": "it loops",
    "Multinomial": "it draws random numbers",
    "NonMaxSuppression": "it selects boxes",
    "QLinearConv": "the network is quantised; use the float one",
    "QLinearMatMul": "the network is quantised; use the float one",
    "QuantizeLinear": "the network is quantised; use the float one",
    "Scan": "it loops",
    "Unique": "it sorts values",
}


def draw(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Array:
    """Seeded weights for examples: float64, evenly spread over [low, high] in random order, never twice the same."""
    count = int(np.prod(shape, dtype=np.int64))
    return np.random.default_rng(seed).permutation(np.linspace(low, high, count)).reshape(shape)


@dataclass(frozen=True)
class Example:
    """A node for the tests. In `inputs`, a tuple is an activation's shape, an array a constant, `None` left out.

    `torch(t, *inputs)` is the same in PyTorch, `t` being its module; activations and constants come as tensors.
    Activations hold distinct values evenly spread over `span`, so that no kink is near; with `levels`, only that many
    different values, so that there are ties: such an example has no derivative and is compared with PyTorch alone.
    `rtol` and `torch_rtol` are relative to the sum of absolute products; a looser one needs a reason in `why`.
    """

    op: str
    inputs: Sequence[tuple[int, ...] | Array | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    torch: Callable[..., Any] | None = None
    outputs: int = 1
    span: tuple[float, float] = (-2.0, 2.0)
    levels: int = 0
    rtol: float = 1e-6
    torch_rtol: float = 2e-6
    why: str = ""
    title: str = ""


@dataclass(frozen=True)
class Rule:
    """One module of `vjp/`, checked."""

    name: str
    ops: tuple[str, ...]
    vjp: Callable[[Step], "str | Gradients"]
    broadcasts: bool
    examples: tuple[Example, ...]
    formula: str


@cache
def rules() -> dict[str, Rule]:
    """Every rule by op. Raises `ImportError` for a module that lacks something and for an op that has two rules."""
    table: dict[str, Rule] = {}
    for found in pkgutil.iter_modules(directory.__path__):
        module = importlib.import_module(f"{directory.__name__}.{found.name}")
        rule = _rule(module)
        for op in rule.ops:
            if op in table or op in ZERO or op in NOT_DIFFERENTIABLE:
                other = table[op].name if op in table else "a table in rules.py"
                raise ImportError(f"{op} is in {rule.name} and in {other}")
            table[op] = rule
    return table


def _rule(module: ModuleType) -> Rule:
    lacking = [what for what in ("__doc__", "ops", "vjp", "examples") if not getattr(module, what, None)]
    if lacking:
        raise ImportError(f"{module.__name__} lacks {', '.join(lacking)}")
    return Rule(
        name=module.__name__,
        ops=tuple(module.ops),
        vjp=module.vjp,
        broadcasts=bool(getattr(module, "broadcasts", False)),
        examples=tuple(module.examples),
        formula=str(module.__doc__),
    )


def known(op: str) -> bool:
    """Whether the walk has an answer for an op, be it that there is none."""
    return op in rules() or op in ZERO or op in NOT_DIFFERENTIABLE


def rule_for(op: str, where: str) -> Rule:
    """The rule for an op that a gradient has reached; `where` names the node in the error if there is none."""
    if op in NOT_DIFFERENTIABLE:
        raise Error(f"{where} is not differentiable: {NOT_DIFFERENTIABLE[op]}")
    if op not in rules():
        raise Error(f"{where} has no gradient rule; there are rules for: {', '.join(sorted(rules()))}")
    return rules()[op]
