"""A backward graph in stages gives the gradient that it gives as a whole: to the bit, but for the order of sums."""

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import light, with_weights
from stylogram_export import differentiate
from stylogram_export.backward import Derivative
from stylogram_export.models import vgg
from stylogram_export.prepare import prepare
from stylogram_export.split import pieces
from stylogram_export.stages import Staged, staged

Arrays = dict[str, np.ndarray]
COUNTS = (2, 2, 1)


def small(pooling: str = "max") -> onnx.ModelProto:
    return vgg.graph("small", COUNTS, 2, vgg.initial(COUNTS, (16, 32, 32), 0), pooling)


def run(model: onnx.ModelProto, known: Arrays) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    feeds = {value.name: known[value.name] for value in session.get_inputs()}
    known |= dict(zip(names, session.run(names, feeds), strict=True))


def in_stages(made: Staged, known: Arrays, incoming: Arrays) -> np.ndarray:
    for model in made.forward:
        onnx.checker.check_model(model)
        run(model, known)
    for stage in made.stages:
        onnx.checker.check_model(stage.model)
        for tap in stage.taps:
            known[f"gy:{tap}"] = incoming[tap]
        run(stage.model, known)
    return known["gx"]


def as_a_whole(derivative: Derivative, known: Arrays, incoming: Arrays) -> np.ndarray:
    run(derivative.forward, known)
    known |= {f"gy:{tap}": values for tap, values in incoming.items()}
    run(derivative.backward, known)
    return known["gx"]


def compare(
    model: onnx.ModelProto, taps: list[str], shape: tuple[int, ...], relu: str = "gradient", most: float = 0
) -> Staged:
    derivative = differentiate(model, taps, shape, relu)
    rng = np.random.default_rng(0)
    picture = {derivative.forward.graph.input[0].name: rng.random(shape, np.float32)}
    known = dict(picture)
    run(derivative.forward, known)
    incoming = {tap: rng.standard_normal(known[tap].shape, np.float32) for tap in taps}
    whole = as_a_whole(derivative, dict(picture), incoming)
    made = staged(derivative)
    assert np.abs(in_stages(made, dict(picture), incoming) - whole).max() <= most * np.abs(whole).max()
    assert np.abs(whole).max() > 0
    return made


@pytest.mark.parametrize("relu", ["gradient", "deconvnet", "guided"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_a_vgg_has_a_stage_for_each_tap_the_deepest_first(pooling: str, relu: str) -> None:
    made = compare(small(pooling), ["conv1_1", "conv3_1", "conv2_1"], (2, 3, 37, 50), relu)
    assert [stage.taps for stage in made.stages] == [("conv3_1",), ("conv2_1",), ("conv1_1",)]
    inputs = [{value.name for value in stage.model.graph.input} for stage in made.stages]
    assert [f"gy:{stage.taps[0]}" in read for stage, read in zip(made.stages, inputs, strict=True)] == [True] * 3


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_taps_before_and_behind_pools(pooling: str) -> None:
    made = compare(small(pooling), ["conv1_2", "conv2_2", "pool2"], (1, 3, 32, 48))
    assert [stage.taps for stage in made.stages] == [("pool2",), ("conv2_2",), ("conv1_2",)]


@pytest.mark.parametrize(("name", "kind"), [("inception_v1", "Concat"), ("resnet50", "Relu")])
def test_networks_with_branches(name: str, kind: str) -> None:
    model = prepare(with_weights(light(name)))
    found = [node.output[0] for node in model.graph.node if node.op_type == kind][:6]
    made = compare(model, [found[0], found[2], found[1], found[5]], (1, 3, 67, 71), most=1e-6)
    assert len(made.stages) == 4


def test_taps_of_which_none_is_on_the_way_to_another() -> None:
    """Side by side: each stage has its own, and the last one the sum."""
    model = prepare(with_weights(light("squeezenet")))
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    made = compare(model, list(concat.input), (1, 3, 67, 71), most=1e-6)
    assert sorted(tap for stage in made.stages for tap in stage.taps) == sorted(concat.input)


def test_pieces_are_cut_where_one_large_tensor_goes_across() -> None:
    whole = differentiate(small(), ["conv3_1"], (1, 3, 32, 48))
    most = 16 * 32 * 48
    known = {whole.forward.graph.input[0].name: np.random.default_rng(0).random((1, 3, 32, 48), np.float32)}
    expected = dict(known)
    run(whole.forward, expected)
    parts = pieces(whole.forward, most)
    assert len(parts) > 1
    for part in parts:
        onnx.checker.check_model(part)
        run(part, known)
    for value in whole.forward.graph.output:
        np.testing.assert_array_equal(known[value.name], expected[value.name])
    assert pieces(whole.forward, most + 1) == [whole.forward]
    assert len(pieces(whole.forward, 1)) > len(parts)
