"""Masking the maxima instead of the unpooled gradient: the same bits from a smaller graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
from stylogram_export import backward, differentiate
from stylogram_export.models import vgg
from stylogram_export.unpooling import mask_maxima

COUNTS = (1, 1)
TAPS = ["conv1_1", "conv2_1"]
SHAPE = (2, 3, 16, 24)


def pair(relu: str) -> backward.Derivative:
    model = vgg.graph("small", COUNTS, 1, vgg.initial(COUNTS, (16, 16), 0), "max")
    return differentiate(model, TAPS, SHAPE, relu)


def gradient(derivative: backward.Derivative) -> np.ndarray:
    def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    rng = np.random.default_rng(0)
    picture = rng.random(SHAPE, np.float32)
    picture[..., :8] = 0.5  # flat: maxima that tie
    forward, back = session(derivative.forward), session(derivative.backward)
    names = [value.name for value in forward.get_outputs()]
    known = dict(zip(names, forward.run(names, {forward.get_inputs()[0].name: picture}), strict=True))
    known |= {f"gy:{tap}": rng.standard_normal(known[tap].shape).astype(np.float32) for tap in TAPS}
    return np.asarray(back.run(["gx"], {value.name: known[value.name] for value in back.get_inputs()})[0])


@pytest.mark.parametrize("relu", ["gradient", "guided", "deconvnet"])
def test_the_same_bits(relu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = gradient(pair(relu))
    monkeypatch.setattr(backward, "mask_maxima", lambda nodes, taken: list(nodes))
    np.testing.assert_array_equal(turned, gradient(pair(relu)))
    assert np.abs(turned).max() > 0.1


def chain(masked: str, also: str | None = None) -> list[onnx.NodeProto]:
    make = onnx.helper.make_node
    nodes = [
        make("MaxPool", ["y"], ["again", "where"], kernel_shape=[2, 2], strides=[2, 2]),
        make("HardSigmoid", [masked], ["mask"], alpha=3e38, beta=0.0),
        make("MaxUnpool", ["gy", "where"], ["wide"], kernel_shape=[2, 2], strides=[2, 2]),
        make("Mul", ["wide", "mask"], ["gx"]),
    ]
    return nodes + ([make("Neg", ["wide"], [also])] if also else [])


def test_the_mask_moves_before_the_unpooling() -> None:
    made = mask_maxima(chain("y"), set())
    assert [node.op_type for node in made] == ["MaxPool", "HardSigmoid", "HardSigmoid", "Mul", "MaxUnpool"]
    assert made[2].input[0] == "again"
    assert list(made[-1].output) == ["gx"]
    assert made[-1].input[0] == made[3].output[0]


@pytest.mark.parametrize("nodes", [chain("other"), chain("y", "also")], ids=["another mask", "read twice"])
def test_what_it_must_not_touch(nodes: list[onnx.NodeProto]) -> None:
    assert mask_maxima(nodes, set()) == nodes
