"""Constants beside a graph: what is made of it is the same, and their numbers are computed once."""

import numpy as np
import onnx
import pytest
from narrow_vgg import weights
from onnx import TensorProto, helper, numpy_helper
from stylogram_export import Error, beside, differentiate
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import portable
from stylogram_export.models import vgg
from stylogram_export.precision import PRECISIONS, narrowed, narrowed_forward
from stylogram_export.prepare import prepare

TAPS = ["conv4_2", "conv1_1", "conv5_1"]


def model():
    tensors = weights(widths=(16, 24, 24, 32, 32))
    counts = vgg.counts_of(tensors)
    return prepare(vgg.graph("narrow", counts, len(counts) - 1, tensors, "max"))


def pair_of(network, precision):
    made = narrowed(portable(differentiate(network, TAPS, (1, 3, 32, 48))), precision, ops=True)
    return made if precision == "fp32" else channels_last(made, convs=precision != "tf32")


def content(made):
    """All of a model but the order of its constants."""
    rest = onnx.ModelProto()
    rest.CopyFrom(made)
    del rest.graph.initializer[:]
    tensors = {t.name: (t.data_type, tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in made.graph.initializer}
    return rest.SerializeToString(deterministic=True), tensors


def conv(values):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(values, "w")]))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pair_is_what_it_would_be_with_them_inside(precision):
    network = model()
    whole = pair_of(network, precision)
    with beside.Beside() as constants:
        thin = constants.thinned(network)
        assert thin.ByteSize() < network.ByteSize() / 5
        made = pair_of(thin, precision)
        assert made.saved == whole.saved
        for ours, wanted in ((made.forward, whole.forward), (made.backward, whole.backward)):
            assert ours.ByteSize() < wanted.ByteSize() / 2
            assert content(beside.filled(ours)) == content(wanted)


def test_numbers_are_narrowed_once_for_both_ways():
    asked = []

    def work(values):
        asked.append(values.shape)
        return values.astype(np.float16)

    with beside.Beside() as constants:
        values = np.random.default_rng(0).standard_normal((40, 30, 1, 1), np.float32)
        thin = constants.thinned(conv(values)).graph.initializer[0]
        turned = beside.rearranged(thin, np.transpose, "turned")
        assert (turned.dims, turned.data_type) == ([1, 1, 30, 40], TensorProto.FLOAT)
        for tensor in (thin, turned, turned):
            narrow = beside.mapped(tensor, work, "half", TensorProto.FLOAT16, "narrow")
        assert (beside.numbers(narrow) == values.astype(np.float16).T).all()
        assert narrow.dims == turned.dims
        assert asked == [values.shape]
        beside.numbers(beside.mapped(thin, work, "another", TensorProto.FLOAT16, "other"))
        assert asked == [values.shape] * 2


def test_a_session_is_given_what_nodes_read_and_in_a_row():
    values = np.random.default_rng(0).standard_normal((40, 30, 1, 1), np.float32)
    with beside.Beside() as constants:
        thin = constants.thinned(conv(values))
        turned = beside.rearranged(thin.graph.initializer[0], np.transpose, "turned")
        thin.graph.initializer.append(turned)
        assert list(beside.given(thin)) == ["w"]
        thin.graph.node[0].input[1] = "turned"
        (found, kind) = beside.given(thin)["turned"]
        assert found.flags.c_contiguous
        assert kind == TensorProto.FLOAT
        assert (found == values.T).all()
        constants.clear()
        with pytest.raises(KeyError):
            beside.given(thin)


def test_small_constants_and_other_types_stay():
    small, whole = np.ones((32, 32, 1, 1), np.float32), np.ones((40, 40), np.int64)
    with beside.Beside() as constants:
        for values in (small, whole):
            tensor = constants.thinned(conv(values)).graph.initializer[0]
            assert not beside.is_beside(tensor)
            assert (beside.numbers(tensor) == values).all()
    assert beside.given(conv(small)) == {}


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.BFLOAT16])
def test_what_is_in_the_graph_is_rearranged_there(kind):
    tensor = helper.make_tensor("w", kind, [2, 3], [1, 2, 3, 4, 5, 6])
    made = beside.rearranged(tensor, np.transpose, "turned")
    assert (made.name, made.data_type, made.dims) == ("turned", kind, [3, 2])
    assert numpy_helper.to_array(made).astype(float).tolist() == [[1, 4], [2, 5], [3, 6]]


def test_what_float16_cannot_hold_is_said():
    values = np.full((40, 40, 1, 1), 1e6, np.float32)
    with beside.Beside() as constants:
        made = narrowed_forward(constants.thinned(conv(values)), "fp16")
        with pytest.raises(Error, match="'w:narrow' has numbers beyond 65504; bf16, tf32 and fp32 are accepted"):
            beside.given(made)
