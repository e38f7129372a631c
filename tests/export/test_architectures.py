"""Whole networks: the nine that the onnx package ships, with random weights, and SqueezeNet with trained ones."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from architectures import NAMES, light, squeezenet, torch_gradient, with_weights
from numpy.typing import NDArray
from stylogram_export import differentiate
from stylogram_export.backward import Derivative
from stylogram_export.graph import cut
from stylogram_export.rules import rules
from stylogram_export.step import Step
from vjp_checks import Runtime, gradients_at, session

Array = NDArray[Any]
FIXED = 224  # what the classifiers' Reshapes and ShuffleNet's are made for
FREE = ("densenet121",)  # takes any size up to the logits
# float32 along the gradient: up to 0.5% are seen, from rounding in 120 layers and from kinks crossed.
ALONG = 1e-2
# The difference's step, relative to the picture. With these weights, Inception v2's logits are large and change little:
# a longer step keeps rounding small.
STEP = 8e-5
STEPS = {"inception_v2": 1.5e-4}
# float32 against float64 to the middle of a network, Euclidean: rounding alone, unless a ReLU or maximum flips.
APART = 1e-4


@cache
def network(name: str) -> onnx.ModelProto:
    """A light model with random weights and a thin classifier, without the softmax at its end."""
    model = light(name)
    last = model.graph.node[-1]
    logits = last.input[0] if last.op_type == "Softmax" else last.output[0]
    return with_weights(cut(model, [logits]))


def relus(model: onnx.ModelProto) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type == "Relu"]


def logits(model: onnx.ModelProto) -> str:
    return str(model.graph.output[0].name)


def picture(size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((1, 3, size, size), dtype=np.float32)


def along_gradient(pair: Runtime, x: Array, step: float = STEP) -> float:
    """Relative error of the derivative along the gradient itself, beside which rounding is smallest."""
    h = step * float(np.linalg.norm(x))
    made = pair.forward(x)
    gy = gradients_at(pair.pair.taps, made)
    gx = pair.backward(made, gy).astype(np.float64)
    v = (gx / np.linalg.norm(gx)).astype(np.float32)
    above, below = pair.forward(x + np.float32(h) * v), pair.forward(x - np.float32(h) * v)
    pieces = [gy[f"gy:{t}"].astype(np.float64) * (above[t].astype(np.float64) - below[t]) for t in pair.pair.taps]
    return abs(sum(float(piece.sum()) for piece in pieces) / (2 * h) / float((gx * v).sum()) - 1)


def apart(derivative: Derivative, x: Array) -> float:
    """Euclidean distance of ONNX Runtime's gradient from PyTorch's in float64, relative."""
    pair = Runtime(derivative)
    made = pair.forward(x)
    gy = gradients_at(derivative.taps, made)
    gx = pair.backward(made, gy)
    values, expected = torch_gradient(derivative.forward, x, {tap: gy[f"gy:{tap}"] for tap in derivative.taps})
    for tap in derivative.taps:
        np.testing.assert_allclose(made[tap], values[tap], rtol=0, atol=1e-5 * np.abs(values[tap]).max())
    return float(np.linalg.norm(gx - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", NAMES)
def test_every_relu_and_the_logits_differentiate(name: str) -> None:
    model = network(name)
    taps = (*relus(model), logits(model))
    derivative = differentiate(model, taps, (1, 3, FIXED, FIXED))
    assert derivative.taps == taps
    assert [v.name for v in derivative.forward.graph.output][: len(taps)] == list(taps)
    assert [v.name for v in derivative.backward.graph.input] == [*(f"gy:{t}" for t in taps), *derivative.saved]


@pytest.mark.parametrize("name", NAMES)
def test_a_relu_alone_differentiates_at_any_size(name: str) -> None:
    model = network(name)
    found = relus(model)[1:-2]
    sized = (1, 3, FIXED, FIXED) if name == "shufflenet" else (None, 3, None, None)
    for tap in found[:: len(found) // 3]:
        assert differentiate(model, [tap], sized).taps == (tap,)


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_against_differences(name: str) -> None:
    model = network(name)
    x = picture(128 if name in FREE else FIXED)
    pair = Runtime(differentiate(model, [logits(model)], x.shape), threads=2)
    assert along_gradient(pair, x, STEPS.get(name, STEP)) < ALONG


@pytest.mark.parametrize("name", NAMES)
def test_two_relus_against_torch(name: str) -> None:
    model = network(name)
    found = relus(model)
    size = FIXED if name == "shufflenet" else 80
    taps = (found[0], found[len(found) // 3])
    assert apart(differentiate(model, taps, (1, 3, size, size)), picture(size)) < APART


@pytest.mark.parametrize("name", ["inception_v2", "shufflenet"])
def test_forward_is_the_network(name: str) -> None:
    model = network(name)
    taps = [relus(model)[3], logits(model)]
    x = picture(FIXED)
    expected = session(cut(model, taps), threads=2).run(taps, {_input(model): x})
    made = Runtime(differentiate(model, taps, x.shape), threads=2).forward(x)
    for tap, value in zip(taps, expected, strict=True):
        np.testing.assert_allclose(made[tap], value, rtol=0, atol=1e-5 * np.abs(value).max())


def _input(model: onnx.ModelProto) -> str:
    fixed = {t.name for t in model.graph.initializer}
    return next(v.name for v in model.graph.input if v.name not in fixed)


def test_the_network_checks_notice_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules()["Conv"]

    def scaled(step: Step) -> str:
        returned = right.vjp(step)
        assert isinstance(returned, str)
        return step.mul(returned, step.const(1.001))

    monkeypatch.setitem(rules(), "Conv", replace(right, vjp=scaled))
    model = network("squeezenet")
    found = relus(model)
    wrong = differentiate(model, [found[0], found[len(found) // 3]], (1, 3, 80, 80))
    assert apart(wrong, picture(80)) > APART
    deep = Runtime(differentiate(model, [logits(model)], (1, 3, FIXED, FIXED)), threads=2)
    assert along_gradient(deep, picture(FIXED)) > ALONG


@cache
def trained() -> onnx.ModelProto:
    path: Path = squeezenet()
    if not path.exists():
        pytest.skip(f"no trained network at STYLOGRAM_SHARED ({path.name} is missing)")
    return onnx.load(path)


@pytest.mark.parametrize("tap", ["fire5_e3", "fire9_e1", "pool10"])
def test_trained_squeezenet_against_differences_and_torch(tap: str) -> None:
    x = 60 * picture(96)
    derivative = differentiate(trained(), ["conv1", tap], x.shape)
    assert along_gradient(Runtime(derivative), x) < ALONG
    assert apart(derivative, x) < APART


def test_one_pair_serves_every_size_and_batch() -> None:
    model = trained()
    pair = Runtime(differentiate(model, ["fire5_e3"], (None, 3, None, None)))
    for shape in [(1, 3, 64, 70), (2, 3, 71, 55)]:
        x = 60 * np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
        closed = Runtime(differentiate(model, ["fire5_e3"], shape))
        made, same = pair.forward(x), closed.forward(x)
        gy = gradients_at(("fire5_e3",), same)
        expected = closed.backward(same, gy)
        np.testing.assert_allclose(pair.backward(made, gy), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
