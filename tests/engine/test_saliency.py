"""Saliency: the three rules by hand and against PyTorch, and what the command says."""

import numpy as np
import onnx
import pytest
import stylogram
import torch
from engine.classes import classifier
from onnx import TensorProto, helper, numpy_helper
from stylogram.cli import main
from stylogram.errors import Error
from stylogram_export import differentiate
from stylogram_export.network import save
from stylogram_export.prepare import prepare

from engine import nets

# A 4×4 picture through a 3×3 convolution of ones without padding: 2×2 sums, minus a bias, then a ReLU. Sums of the
# picture below: 45 54 / 81 90 (0...15, row by row); minus 60: -15 -6 / 21 30, so that the upper two are off.
RAMP = np.arange(16.0).reshape(1, 1, 4, 4)
INCOMING = np.array([[[[2.0, 3.0], [-5.0, 7.0]]]])
BY_HAND = {
    # gradient: [y > 0] gy = 0 0 / -5 7, spread by ones
    "gradient": [[0, 0, 0, 0], [-5, 2, 2, 7], [-5, 2, 2, 7], [-5, 2, 2, 7]],
    # deconvnet: max(gy, 0) = 2 3 / 0 7
    "deconvnet": [[2, 5, 5, 3], [2, 12, 12, 10], [2, 12, 12, 10], [0, 7, 7, 7]],
    # guided: both = 0 0 / 0 7
    "guided": [[0, 0, 0, 0], [0, 7, 7, 7], [0, 7, 7, 7], [0, 7, 7, 7]],
}


@pytest.mark.parametrize("rule", BY_HAND)
def test_four_by_four_by_hand(rule):
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    constants = [numpy_helper.from_array(np.ones((1, 1, 3, 3)), "w"), numpy_helper.from_array(np.array([-60.0]), "b")]
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1, 1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    graph = helper.make_graph(nodes, "hand", [x], [y], constants)
    model = prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    derivative = differentiate(model, ["y"], (1, 1, 4, 4), rule)
    run = onnx.reference.ReferenceEvaluator
    names = [value.name for value in derivative.forward.graph.output]
    saved = dict(zip(names, run(derivative.forward).run(None, {"x": RAMP}), strict=True))
    assert saved["y"].tolist() == [[[[0, 0], [21, 30]]]]
    feeds = {
        value.name: {"x": RAMP, "gy:y": INCOMING, **saved}[value.name] for value in derivative.backward.graph.input
    }
    assert run(derivative.backward).run(None, feeds)[0].tolist() == [[BY_HAND[rule]]]


def pytorch(network, picture, rule, label):
    """The map (H,W,3) by autograd with the rule in a ReLU of its own."""
    w = {t.name: torch.tensor(onnx.numpy_helper.to_array(t).copy()) for t in network.model.graph.initializer}

    class Rectified(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z.clamp(min=0)

        @staticmethod
        def backward(ctx, gy):
            (z,) = ctx.saved_tensors
            gy = gy if rule == "gradient" else gy.clamp(min=0)
            return gy if rule == "deconvnet" else gy * (z > 0)

    f, relu = torch.nn.functional, Rectified.apply
    x = torch.tensor(picture.transpose(2, 0, 1)[None].copy(), requires_grad=True)
    hidden = f.max_pool2d(relu(f.conv2d(x, w["w1"], padding=1)), 2)
    places = f.conv2d(relu(f.conv2d(hidden, w["w2"], padding=1)), w["w3"])[0, label]
    (places.max() if rule == "deconvnet" else places.mean()).backward()
    return x.grad[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("rule", BY_HAND)
def test_every_map_is_pytorch_s(rule):
    network, picture = classifier(), nets.blocks(24, 32, 3)
    made = stylogram.saliency(picture, network=network, class_="cliff", rule=rule, size=32)
    expected = pytorch(network, picture, rule, 4)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(made.maps[rule], expected, atol=1e-5 * np.abs(expected).max())
    assert made.exact.shape == (24, 32, 3)
    assert made.exact.std() > 0.01


def test_all_three_beside_the_photograph(tmp_path):
    made = stylogram.saliency(nets.blocks(24, 32, 3), network=classifier(), size=32)
    assert set(made.maps) == set(BY_HAND)
    assert made.exact.shape[1] > 4 * 32
    assert made.label in made.notes[-1]
    save(classifier(), tmp_path / "net.onnx")
    stylogram.pictures.write(tmp_path / "in.png", nets.blocks(24, 32, 3))
    given = [str(tmp_path / "in.png"), "--class", "1", "-o", str(tmp_path / "o.png")]
    assert main(["saliency", *given, "--network", str(tmp_path / "net.onnx"), "--quiet"]) == 0
    assert stylogram.pictures.read(tmp_path / "o.png").rgb.std() > 0.01


def test_without_a_class_it_is_the_strongest():
    picture = nets.blocks(24, 32, 3)
    scores = [stylogram.saliency(picture, network=classifier(), class_=k, rule="gradient").score for k in range(5)]
    best = stylogram.saliency(picture, network=classifier(), rule="gradient")
    assert best.score == max(scores)
    assert best.label.startswith(str(int(np.argmax(scores))))


BAD = {
    "rule": ({"rule": "guidded"}, "guided"),
    "class": ({"class_": 9}, "a number from 0 to 4"),
    "two classes": ({"class_": (1, 2)}, "one is accepted here, got 2"),
    "no classes": ({"network": nets.narrow()}, "has no class scores"),
    "picture": ({"image": "none.png"}, "there is no file none.png"),
    "size": ({"network": classifier(side=32, flat=True), "size": 48}, "48"),
}


@pytest.mark.parametrize("task", ["saliency", "occlusion"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, task):
    options, said = BAD[name]
    given = {"network": classifier(), "image": nets.blocks(24, 32, 3), **options}
    if task == "occlusion" and name == "rule":
        said = "unknown option 'rule'"
    with pytest.raises(Error) as caught:
        getattr(stylogram, task)(given.pop("image"), **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
