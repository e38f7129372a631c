"""Receptive fields against what an impulse reaches, and against published numbers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from narrow_vgg import weights
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.graph import cut
from stylogram_export.models import build
from stylogram_export.prepare import prepare
from stylogram_export.receptive import Field, fields

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SIZE = 48


def chain(*nodes: tuple[str, dict, list[np.ndarray]], channels: int = 1) -> onnx.ModelProto:
    """x -> t1 -> t2 ... through (op, attributes, constant inputs); None is an absent input."""
    made, constants, at = [], [], "x"
    for number, (op, attributes, inputs) in enumerate(nodes, 1):
        names = []
        for index, value in enumerate(inputs):
            names.append("" if value is None else f"c{number}_{index}")
            if value is not None:
                constants.append(numpy_helper.from_array(value, names[-1]))
        made.append(helper.make_node(op, [at, *names], [f"t{number}"], **attributes))
        at = f"t{number}"
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, SIZE, SIZE])
    body = helper.make_graph(
        made, "g", [source], [helper.make_tensor_value_info(at, TensorProto.FLOAT, None)], constants
    )
    return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def conv(k: int, c: int = 1, **attributes: object) -> tuple[str, dict, list[np.ndarray]]:
    return "Conv", attributes, [np.ones((c, c, k, k), np.float32)]


def reached(model: onnx.ModelProto) -> dict[int, tuple[int, int]]:
    """For every row of the output the first and the last row of x that change it, where any does."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.zeros((SIZE, 1, SIZE, SIZE), np.float32)
    x[range(SIZE), 0, range(SIZE)] = 1  # picture n has row n set
    y = session.run(None, {"x": x})[0]
    changed = np.abs(y).max((1, 3)) > 0  # (row of x, row of y)
    rows = {}
    for unit in range(changed.shape[1]):
        hit = np.flatnonzero(changed[:, unit])
        if len(hit):
            rows[unit] = (int(hit[0]), int(hit[-1]))
    return rows


CASES = {
    "conv": chain(conv(3, pads=[1, 1, 1, 1])),
    "stride": chain(conv(5, strides=[2, 2], pads=[2, 2, 2, 2]), conv(3)),
    "dilation": chain(conv(3, dilations=[3, 3], pads=[1, 1, 1, 1]), conv(3, strides=[2, 2])),
    "asymmetric": chain(conv(4, pads=[0, 0, 3, 3]), conv(4, pads=[3, 3, 0, 0])),
    "same_upper": chain(conv(4, auto_pad="SAME_UPPER", strides=[2, 2]), conv(3, auto_pad="SAME_UPPER")),
    "same_lower": chain(conv(4, auto_pad="SAME_LOWER"), conv(2, auto_pad="SAME_LOWER", strides=[2, 2])),
    "valid": chain(conv(3, auto_pad="VALID", strides=[3, 3])),
    "pools": chain(
        conv(3, pads=[1, 1, 1, 1]),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, []),
        conv(3, pads=[1, 1, 1, 1]),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, []),
    ),
    "pad": chain(("Pad", {}, [np.array([0, 0, 3, 3, 0, 0, 2, 2])]), conv(3, strides=[2, 2])),
    "slice": chain(("Slice", {}, [np.array([5, 5]), np.array([40, 41]), np.array([2, 3]), np.array([2, 2])]), conv(3)),
    "pointwise": chain(conv(3), ("Relu", {}, []), ("LRN", {"size": 1}, []), ("Clip", {}, [])),
}


@pytest.mark.parametrize("model", CASES.values(), ids=CASES)
def test_what_an_impulse_reaches(model):
    output = model.graph.output[0].name
    field = fields(model)[output]
    assert field.stride[0] == field.stride[1]
    assert field.size[0] == field.size[1]
    units = reached(model)
    inner = 0
    for unit, (first, last) in units.items():
        start = field.start[0] + unit * field.stride[0]
        end = start + field.size[0] - 1
        assert first == max(start, 0), unit
        if end < SIZE:  # ceil_mode's and padding's last units see less
            assert last == end, unit
            inner += 1
    assert inner > 3


HALVED = ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, [])
DOUBLE = [None, np.float32([1, 1, 2, 2])]
TRANSPOSED = ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1]}, [np.ones((1, 1, 4, 4), np.float32)])
UPSAMPLED = {
    "transposed": chain(conv(3, strides=[2, 2]), TRANSPOSED),
    "nearest": chain(HALVED, ("Resize", {}, DOUBLE)),
    "linear": chain(conv(3, strides=[2, 2]), ("Resize", {"mode": "linear"}, DOUBLE)),
}


@pytest.mark.parametrize("model", UPSAMPLED.values(), ids=UPSAMPLED)
def test_upsampling_covers_what_an_impulse_reaches(model):
    """Neighbours see differently much there: the field is what covers them all."""
    field = fields(model)[model.graph.output[0].name]
    assert field.stride == (1.0, 1.0)
    widest = 0
    for unit, (first, last) in reached(model).items():
        assert first >= field.start[0] + unit - 1
        assert last <= field.start[0] + unit + field.size[0]
        widest = max(widest, last - first + 1)
    assert widest <= field.size[0] <= widest + 2


def test_branches_meet_in_their_union():
    wide, narrow = np.ones((1, 1, 7, 7), np.float32), np.ones((1, 1, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[3, 3, 3, 3]),
        helper.make_node("Conv", ["x", "n"], ["b"]),
        helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
        helper.make_node("GlobalAveragePool", ["y"], ["g"]),
        helper.make_node("Mul", ["y", "g"], ["gated"]),
        helper.make_node("InstanceNormalization", ["y", "s", "s"], ["normal"]),
        helper.make_node("ReduceMean", ["y", "one"], ["over_channels"]),
        helper.make_node("Softmax", ["y"], ["soft"], axis=1),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIZE, SIZE])
    constants = {"w": wide, "n": narrow, "s": np.ones(2, np.float32), "one": np.array([1])}
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    body = helper.make_graph(nodes, "g", [source], [], tensors)
    found = fields(helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]))
    seven = Field((1.0, 1.0), (7.0, 7.0), (-3.0, -3.0))
    assert found["y"] == found["over_channels"] == found["soft"] == seven
    assert found["g"] == Field(None, None, None)
    assert found["gated"] == found["normal"] == Field((1.0, 1.0), None, None)


def test_a_channel_shuffle_keeps_positions():
    model = chain(
        ("Reshape", {}, [np.array([-1, 2, 3, SIZE, SIZE])]),
        ("Transpose", {"perm": [0, 2, 1, 3, 4]}, []),
        ("Reshape", {}, [np.array([-1, 6, SIZE, SIZE])]),
        ("Flatten", {}, []),
        channels=6,
    )
    found = fields(model)
    assert found["t3"] == found["x"]
    assert found["t4"].stride is None


# Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, the table
PUBLISHED = {"alexnet": ("light_bvlc_alexnet.onnx", 195, 32), "vgg16": (None, 212, 32)}


@pytest.mark.parametrize(("file", "size", "stride"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_fields(file, size, stride):
    if file is None:
        model = build("vgg16", weights("vgg16"))
    else:
        model = onnx.load(LIGHT / file)
        last = [node.output[0] for node in model.graph.node if node.op_type == "MaxPool"][-1]
        model = prepare(cut(model, [last]))
    field = fields(model)[model.graph.output[0].name]
    assert (field.size[0], field.stride[0]) == (size, stride)
