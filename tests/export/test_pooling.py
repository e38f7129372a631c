"""Which gradients of max-pools become MaxPoolGradient, and what they take up. The numbers: test_session_winograd.py."""

from typing import Any

import numpy as np
import onnx
import pytest
from graphs import network, node, weights
from stylogram_export import differentiate
from stylogram_export.domain import DOMAIN
from stylogram_export.graph import attributes
from stylogram_export.pooling import OP
from stylogram_export.winograd import rewrite

THREES: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
HALVES: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


def backward(
    nodes: list[onnx.NodeProto], taps: list[str], shape: Any = (1, 3, 13, 13), kind: int = onnx.TensorProto.FLOAT
) -> list[onnx.NodeProto]:
    """The nodes of the rewritten gradient of a network with 1x1 convolutions by `v` and `w`."""
    given = network(nodes, " ".join(taps), {"v": weights(4, 3, 1, 1), "w": weights(5, 4, 1, 1)}, shape, kind=kind)
    return list(rewrite(differentiate(given, taps, shape)).backward.graph.node)


def ours(nodes: list[onnx.NodeProto]) -> list[dict[str, Any]]:
    return [attributes(n) for n in nodes if (n.domain, n.op_type) == (DOMAIN, OP)]


def kinds(nodes: list[onnx.NodeProto]) -> set[str]:
    return {n.op_type for n in nodes} - {"Conv", "ConvTranspose"}


RELU = [node("Conv", "x v", "a"), node("Relu", "a", "b")]
AFTER = node("Conv", "p w", "y")


@pytest.mark.parametrize("words", [THREES, HALVES, {**THREES, "pads": [1, 1, 0, 0], "ceil_mode": 1}], ids=str)
def test_a_pool_behind_a_relu_takes_up_its_mask(words: dict[str, Any]) -> None:
    made = backward([*RELU, node("MaxPool", "b", "p", **words), AFTER], ["y"])
    stated = {name: words[name] for name in ("kernel_shape", "strides")}
    assert ours(made) == [{**stated, "before": words.get("pads", [0, 0])[:2], "positive": 1}]
    assert kinds(made) == {OP}


@pytest.mark.parametrize("words", [THREES, HALVES], ids=str)
def test_a_tap_between_leaves_the_mask(words: dict[str, Any]) -> None:
    made = backward([*RELU, node("MaxPool", "b", "p", **words), AFTER], ["b", "y"])
    assert [one["positive"] for one in ours(made)] == [0]
    assert kinds(made) == {OP, "Add", "Mul", "HardSigmoid"}


def test_the_mask_of_another_tensor_stays() -> None:
    nodes = [node("Conv", "x v", "a"), node("MaxPool", "a", "p", **THREES), node("Relu", "p", "r")]
    made = backward([*nodes, node("Conv", "r w", "y")], ["y"])
    assert [one["positive"] for one in ours(made)] == [0]
    assert {"Mul", "HardSigmoid"} < kinds(made)


def test_two_pools_of_one_tensor() -> None:
    nodes = [*RELU, node("MaxPool", "b", "p", **THREES), node("MaxPool", "b", "q", kernel_shape=[5, 5], strides=[2, 2])]
    made = backward([*nodes, AFTER, node("Conv", "q w", "z")], ["y", "z"])
    assert sorted(one["kernel_shape"] for one in ours(made)) == [[3, 3], [5, 5]]
    assert not {"MaxPool", "ScatterElements", "Reshape"} & kinds(made)


def test_other_pools_stay() -> None:
    wide = backward([*RELU, node("MaxPool", "b", "p", **THREES, dilations=[2, 2]), AFTER], ["y"])
    assert not ours(wide)
    double = backward([*RELU, node("MaxPool", "b", "p", **THREES), AFTER], ["y"], kind=onnx.TensorProto.DOUBLE)
    assert not ours(double)
    nodes = [node("Reshape", "x s", "flat"), node("MaxPool", "flat", "y", kernel_shape=[3], strides=[2])]
    line = network(nodes, "y", {"s": np.array([1, 3, 169])}, (1, 3, 13, 13))
    assert not ours(list(rewrite(differentiate(line, ["y"], (1, 3, 13, 13))).backward.graph.node))


def test_open_sizes_do_as_well() -> None:
    made = backward([*RELU, node("MaxPool", "b", "p", **THREES), AFTER], ["y"], (1, 3, None, None))
    assert [one["positive"] for one in ours(made)] == [1]
