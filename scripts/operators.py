"""Prints docs/operators.md: the operators that differentiate() knows, read from the rules themselves.

python scripts/operators.py > docs/operators.md
"""

from collections.abc import Iterable

from stylogram_export.rules import NOT_DIFFERENTIABLE, RELU_MODES, ZERO, Rule, rules

INTRODUCTION = """\
# Operators

What `stylogram_export.differentiate` knows of ONNX's operators. This page is made by `scripts/operators.py` from the
rules themselves; how to add one is in [CONTRIBUTING.md](../CONTRIBUTING.md).

y is what an operator gives, x (or a, b) what it takes, dy and dx the gradients of the loss with respect to them. A
gradient is asked for only where an input depends on the picture. The opset of a network does not matter: `prepare`
brings it to 18, folds what can be computed from constants, and removes Identity and Dropout. An operator that is not
here but that ONNX itself defines by others (GroupNormalization, Gelu, MeanVarianceNormalization) is replaced by these
first. Any other is an error that names it and its node."""

DIFFERENTIABLE = """\
## Differentiable

{count} operators. Every rule is tested on its examples: against central differences in float64 where there is a
derivative, against PyTorch where that has the operator; and each of these tests is shown to fail when the rule is
wrong by 0.1%. `differentiate(..., relu=...)` takes {modes}."""

NOUGHT = """\
## Zero

The derivative is zero wherever there is one: a gradient ends at these operators, and that is no mistake."""

REFUSED = """\
## Not differentiable

No rule can be right for these: an error says why when a gradient reaches one."""


def cell(text: str) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(rule: Rule) -> tuple[str, ...]:
    """Operators, formula, notes and file of one rule."""
    formula, _, notes = rule.formula.partition("\n\n")
    if len(rule.ops) == 1:
        formula = formula.removeprefix(f"{rule.ops[0]}: ")
    if rule.broadcasts:
        notes += " Inputs may broadcast."
    file = f"{rule.name.rpartition('.')[2]}.py"
    link = f"[{file}](../export/stylogram_export/vjp/{file})"
    return ", ".join(rule.ops), cell(formula), cell(notes), link


def page() -> str:
    """The whole page."""
    found = sorted({rule.name: rule for rule in rules().values()}.values(), key=lambda rule: rule.ops[0].lower())
    modes = ", ".join(f"`{mode}`" for mode in RELU_MODES)
    parts = [
        INTRODUCTION,
        DIFFERENTIABLE.format(count=len(rules()), modes=modes),
        table(("operator", "formula", "notes", "rule"), map(row, found)),
        NOUGHT,
        ", ".join(sorted(ZERO)) + ".",
        REFUSED,
        table(("operator", "why"), sorted((op, cell(why)) for op, why in NOT_DIFFERENTIABLE.items())),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
