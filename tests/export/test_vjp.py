"""Every gradient rule on every one of its examples; and that these checks can fail."""

import pkgutil
from dataclasses import replace

import numpy as np
import pytest
from stylogram_export import rules as table
from stylogram_export import vjp
from stylogram_export.rules import Rule, rules
from stylogram_export.step import Gradients, Step
from vjp_checks import Case, Reference, cases, derivative_of, difference_error, picture_of, torch_error

SMOOTH = [case for case in cases() if not case.example.levels]
IN_TORCH = [case for case in cases() if case.example.torch]
STEP = 1e-5  # of the differences: truncation and rounding both stay below 1e-9


def _name(case: Case) -> str:
    return case.id


@pytest.mark.parametrize("case", SMOOTH, ids=_name)
def test_against_central_differences_in_float64(case: Case) -> None:
    pair = Reference(derivative_of(case.example, np.float64))
    assert difference_error(pair, picture_of(case.example), STEP) < case.example.rtol


@pytest.mark.parametrize("case", IN_TORCH, ids=_name)
def test_against_torch(case: Case) -> None:
    forward, gradient = torch_error(case.example)
    assert forward < case.example.torch_rtol
    assert gradient < case.example.torch_rtol


def _scaled(rule: Rule, which: int) -> Rule:
    """The rule with one of the gradients that it returns 0.1% too large."""

    def vjp(step: Step) -> Gradients:
        returned = rule.vjp(step)
        found = {0: returned} if isinstance(returned, str) else dict(returned)
        wanted = [i for i in found if step.wants(i)]
        i = wanted[which % len(wanted)]
        factor = step.op("CastLike", step.const(1.001), found[i], name="factor")
        return found | {i: step.mul(found[i], factor)}

    return replace(rule, vjp=vjp)


@pytest.mark.parametrize("case", SMOOTH, ids=_name)
def test_differences_notice_a_wrong_rule(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    active = sum(isinstance(given, tuple) for given in case.example.inputs)
    for which in range(active):
        monkeypatch.setitem(rules(), case.example.op, _scaled(case.rule, which))
        pair = Reference(derivative_of(case.example, np.float64))
        assert difference_error(pair, picture_of(case.example), STEP) > case.example.rtol


@pytest.mark.parametrize("case", IN_TORCH, ids=_name)
def test_torch_notices_a_wrong_rule(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules(), case.example.op, _scaled(case.rule, 0))
    assert torch_error(case.example)[1] > case.example.torch_rtol


def test_every_module_is_a_rule_and_every_op_has_an_example() -> None:
    found = {rule.name.split(".")[-1]: rule for rule in rules().values()}
    assert set(found) == {module.name for module in pkgutil.iter_modules(vjp.__path__)}
    for rule in found.values():
        assert {example.op for example in rule.examples} == set(rule.ops), rule.name


def test_every_rule_is_checked_without_kinks() -> None:
    assert {op for rule in rules().values() for op in rule.ops} == {case.example.op for case in SMOOTH}


def test_a_looser_tolerance_has_a_reason() -> None:
    plain = {"rtol": 1e-6, "torch_rtol": 2e-6}
    for case in cases():
        looser = any(getattr(case.example, name) > value for name, value in plain.items())
        assert not looser or case.example.why, case.id
        assert case.example.torch or not case.example.levels, f"{case.id} is never checked"


def test_tables_do_not_overlap() -> None:
    assert not table.ZERO & set(table.NOT_DIFFERENTIABLE)
    assert not set(rules()) & (table.ZERO | set(table.NOT_DIFFERENTIABLE))


def test_formulas_come_first() -> None:
    for rule in rules().values():
        first = rule.formula.split("\n\n")[0]
        assert "=" in first, rule.name
        assert all(op in rule.formula for op in rule.ops), rule.name
