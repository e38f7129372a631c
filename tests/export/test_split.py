"""A split graph computes what the whole does, and its parts stay small."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from stylogram_export import differentiate
from stylogram_export.graph import dims
from stylogram_export.models import vgg
from stylogram_export.split import MOST, split

COUNTS = (2, 2, 1)
TAPS = ["conv1_1", "conv2_2", "conv3_1"]
SHAPE = (1, 3, 32, 48)


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    return vgg.graph("small", COUNTS, 2, vgg.initial(COUNTS, (16, 32, 32), 0), "max")


@pytest.fixture(scope="module")
def whole(network: onnx.ModelProto) -> onnx.ModelProto:
    return differentiate(network, TAPS, SHAPE).forward


def run(model: onnx.ModelProto, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    feeds = {value.name: known[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_the_parts_compute_the_same_bits(whole: onnx.ModelProto) -> None:
    parts = split(whole)
    assert len(parts) > 1
    known = {whole.graph.input[0].name: np.random.default_rng(0).random(SHAPE, np.float32)}
    expected = run(whole, known)
    for part in parts:
        onnx.checker.check_model(part)
        known |= run(part, known)
    assert known.keys() - {whole.graph.input[0].name} == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(known[name], value, err_msg=name)


def test_a_part_hands_out_at_most_twice_the_largest(whole: onnx.ModelProto) -> None:
    sizes = {value.name: math.prod(dims(value)) for value in whole.graph.output}  # type: ignore[arg-type]
    made = [sum(sizes[value.name] for value in part.graph.output) for part in split(whole)]
    assert sum(made) == sum(sizes.values())
    assert max(made) <= MOST * max(sizes.values())


def test_each_weight_goes_to_one_part(whole: onnx.ModelProto) -> None:
    given = [tensor.name for part in split(whole) for tensor in part.graph.initializer]
    assert sorted(given) == sorted(tensor.name for tensor in whole.graph.initializer)


def test_nothing_that_is_no_output_goes_across() -> None:
    def value(name: str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4])

    nodes = [
        onnx.helper.make_node("Exp", ["x"], ["hidden"]),
        onnx.helper.make_node("Neg", ["x"], ["a"]),
        onnx.helper.make_node("Neg", ["a"], ["b"]),
        onnx.helper.make_node("Add", ["hidden", "b"], ["c"]),
        onnx.helper.make_node("Abs", ["c"], ["d"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [value("x")], [value(name) for name in "abcd"])
    parts = split(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
    assert [[out.name for out in part.graph.output] for part in parts] == [["a", "b", "c"], ["d"]]


def test_open_sizes_stay_whole(network: onnx.ModelProto) -> None:
    model = differentiate(network, TAPS, (1, 3, None, None)).forward
    assert split(model) == [model]
