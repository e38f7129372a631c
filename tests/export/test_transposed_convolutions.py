"""Transposed convolutions with strides in the graphs that GPUs run: ours where channels come last, else ONNX's."""

from collections import Counter
from dataclasses import replace

import architectures
import numpy as np
import onnx
import pytest
from export.pairs import FLIPS, gradients, run, spelled_out
from gpu.recorded import CLOSED, two_taps
from narrow_vgg import relative
from onnx import TensorProto, helper, numpy_helper
from stylogram_export import Derivative, differentiate
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import portable, portable_forward
from stylogram_export.network import folded
from stylogram_export.precision import narrowed, narrowed_forward
from stylogram_export.prepare import prepare

from engine import nets

pytestmark = pytest.mark.usefixtures("gpu")


def alone(shape=(2, 6, 5, 7), filters=(6, 4, 3, 3), bias=False, opset=18, **stated):
    """A graph of a ConvTranspose alone, from x to y."""
    rng = np.random.default_rng(0)
    values = {"w": rng.standard_normal(filters)}
    values |= {"b": rng.standard_normal(filters[1] * stated.get("group", 1))} if bias else {}
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", *values], ["y"], **stated)], "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def last(pair, precision="fp32", convs=True):
    """The pair as it is with channels last."""
    return channels_last(narrowed(portable(pair, convs=convs), precision, ops=True), convs)


def used(model):
    return Counter(node.op_type for node in model.graph.node)


#: Which cuDNN can say, by a transposed convolution's attributes.
OURS = {
    "stride": {"strides": [2, 2]},
    "as ResNet's first": {"filters": (6, 4, 7, 7), "strides": [2, 2], "pads": [3] * 4, "output_padding": [1, 1]},
    "pads unlike": {"strides": [2, 2], "pads": [1, 0, 0, 0], "output_padding": [0, 1]},
    "more rows for pads below": {"strides": [3, 3], "pads": [0, 0, 1, 1], "output_padding": [1, 2]},
    "gaps": {"filters": (6, 4, 1, 2), "strides": [3, 2], "output_padding": [2, 1]},
    "dilations": {"strides": [2, 3], "dilations": [2, 3], "pads": [1] * 4},
    "groups and a bias": {"filters": (6, 2, 3, 3), "strides": [2, 2], "group": 3, "bias": True},
    "groups without strides": {"filters": (6, 1, 3, 3), "group": 6, "pads": [1] * 4},
}  # fmt: skip


@pytest.mark.parametrize("title", OURS)
def test_a_transposed_convolution_is_ours(title):
    model = alone(**OURS[title])
    both = last(Derivative(model, model, (), ()))
    for made in (both.forward, both.backward):
        assert [node.op_type for node in made.graph.node] == ["Transpose", "CudaConvTranspose", "Transpose"]
        x = np.random.default_rng(1).standard_normal((2, 6, 5, 7), np.float32)
        got, wanted = run(spelled_out(made), {"x": x})["y"], run(model, {"x": x})["y"]
        assert got.shape == wanted.shape
        assert relative(got, wanted) < 1e-6
    first = portable(Derivative(model, model, (), ()))
    for made in (first.forward, first.backward):
        assert [node.op_type for node in made.graph.node] == ["ConvTranspose"]


#: Which it cannot, or whose sizes are not known.
KEPT = {
    "more pads above": {"strides": [2, 2], "pads": [1, 1, 0, 0], "output_padding": [1, 1]},
    "more pads below": {"strides": [2, 2], "pads": [0, 0, 1, 1]},
    "named pads": {"filters": (6, 4, 2, 2), "strides": [2, 2], "auto_pad": "SAME_LOWER", "output_padding": [1, 1]},
    "a shape": {"strides": [2, 2], "output_shape": [11, 15], "output_padding": [1, 1]},
    "one axis": {"shape": (2, 6, 5), "filters": (6, 4, 3), "strides": [2]},
    "an open size": {"shape": (2, 6, "H", 7), "strides": [2, 2]},
}


@pytest.mark.parametrize("title", KEPT)
def test_others_stay(title):
    model = alone(**KEPT[title])
    both = last(Derivative(model, model, (), ()))
    assert used(both.forward) == used(both.backward) == {"ConvTranspose": 1}


def test_one_whose_weights_are_an_input_stays():
    model = alone(strides=[2, 2])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, model.graph.initializer.pop().dims))
    both = last(Derivative(model, model, (), ()))
    assert used(both.forward) == used(both.backward) == {"ConvTranspose": 1}


@pytest.mark.parametrize("ops", [False, True])
def test_it_scales_with_the_picture_in_float16(ops):
    """Its bias with it: numbers of a hundred thousand fit."""
    model = alone(strides=[2, 2], bias=True)
    x = 2e4 * np.random.default_rng(1).standard_normal((2, 6, 5, 7), np.float32)
    bias = model.graph.initializer[1]
    bias.CopyFrom(numpy_helper.from_array(np.float32(1e4) * numpy_helper.to_array(bias), bias.name))
    wanted = run(model, {"x": x})["y"]
    assert wanted.max() > 65504
    made = narrowed_forward(model, "fp16", ops)
    assert relative(run(made, {"x": x})["y"], wanted) < 5e-3
    made = narrowed_forward(portable_forward(model, convs=True), "fp16", ops=True)
    made = channels_last(Derivative(made, made, (), ()), convs=True).forward
    assert used(made) == {"CudaNarrow": 1, "CudaConvTranspose": 1, "CudaWiden": 1}
    assert relative(run(spelled_out(made), {"x": x})["y"], wanted) < 5e-3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 3, 33, 46), (2, 3, 32, 47)])
def test_the_gradient_is_the_same(shape, precision):
    taps = ["a", "y"]
    pair = differentiate(folded(nets.strided(groups=1), taps), taps, shape)
    made = last(pair, precision)
    assert used(made.backward)["CudaConvTranspose"] == 3
    x = np.random.default_rng(0).random(shape, np.float32)
    readable = replace(made, forward=spelled_out(made.forward), backward=spelled_out(made.backward))
    (_, gradient), (_, wanted) = gradients(readable, x), gradients(pair, x)
    assert np.linalg.norm(gradient - wanted) < {"fp32": 1e-6, "fp16": FLIPS}[precision] * np.linalg.norm(wanted)


#: Networks whose gradients have nothing else that is cast or turned in bfloat16.
PLAIN = ("resnet50", "squeezenet")


@pytest.mark.parametrize("name", [name for name in architectures.NAMES if name != "vgg19"])
def test_known_networks_strides_are_not_cast_and_not_turned(name):
    model = prepare(architectures.with_weights(architectures.light(name)))
    side = 224 if name in CLOSED else 80
    pair = differentiate(model, two_taps(model), (1, 3, side, side))
    before, after = (
        used(channels_last(narrowed(portable(pair, convs=convs), "bf16", ops=True), convs=True).backward)
        for convs in (False, True)
    )
    count = before["ConvTranspose"]
    assert count > 0
    assert (after["ConvTranspose"], after["CudaConvTranspose"]) == (0, count)
    assert after["Cast"] == before["Cast"] - 3 * count  # of the gradient, the weights, and what comes out
    assert after["Transpose"] <= before["Transpose"] - 2
    if name in PLAIN:
        assert not after["Cast"] + after["Transpose"]
