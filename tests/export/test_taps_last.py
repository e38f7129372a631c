"""Taps as they lie within: the same features and gradients, without the passes over memory in between."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from export.pairs import TAPS, pair_of, run, spelled_out
from narrow_vgg import picture
from onnx import TensorProto, helper
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import portable
from stylogram_export.graph import dims
from stylogram_export.precision import SHRINK, narrowed
from stylogram_export.taps_last import taps_last

pytestmark = pytest.mark.usefixtures("gpu")

KINDS = {"tf32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def pairs(shape, precision, convs):
    """With the casts and without, and the taps of the latter."""
    before = channels_last(narrowed(portable(pair_of(shape)), precision, ops=True), convs)
    return before, *taps_last(before)


def of(pair):
    return replace(pair, forward=spelled_out(pair.forward), backward=spelled_out(pair.backward))


@pytest.mark.parametrize("convs", [False, True])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_features_and_gradients_are_the_same(precision, convs):
    x = picture(33, 48, batch=2)
    before, after, taps = pairs(x.shape, precision, convs)
    assert set(taps) == set(TAPS)
    made, wanted = (run(of(pair).forward, {pair.forward.graph.input[0].name: x}) for pair in (after, before))
    rng = np.random.default_rng(1)
    gradients = {tap: rng.standard_normal(wanted[tap].shape, np.float32) for tap in TAPS}
    for tap in TAPS:
        wide = made[taps[tap].output].transpose(0, 3, 1, 2).astype(np.float32) * np.float32(taps[tap].unit)
        assert (wide == wanted[tap]).all()
    turned = {f"gy:{tap}": np.ascontiguousarray(gy.transpose(0, 2, 3, 1)) for tap, gy in gradients.items()}
    straight = {f"gy:{tap}": gy for tap, gy in gradients.items()}
    results = []
    for pair, given in ((after, made | turned), (before, wanted | straight)):
        results.append(run(of(pair).backward, {v.name: given[v.name] for v in pair.backward.graph.input})["gx"])
    assert (results[0] == results[1]).all()


@pytest.mark.parametrize("convs", [False, True])
@pytest.mark.parametrize("precision", KINDS)
def test_nothing_is_cast_or_turned_at_a_tap(precision, convs):
    before, after, taps = pairs((1, 3, 32, 48), precision, convs)
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*after.forward.graph.output, *after.backward.graph.input)}
    shapes = {v.name: dims(v) for v in (*before.forward.graph.output, *before.backward.graph.input)}
    assert not set(TAPS).intersection(v.name for v in after.forward.graph.output)
    for tap, there in taps.items():
        assert kinds[there.output] == KINDS[precision]
        assert kinds[f"gy:{tap}"] == (TensorProto.BFLOAT16 if precision == "bf16" else TensorProto.FLOAT)
        assert there.unit == (1 / SHRINK if precision == "fp16" else 1)
        n, c, h, w = shapes[tap]
        given = {v.name: dims(v) for v in (*after.forward.graph.output, *after.backward.graph.input)}
        assert given[there.output] == given[f"gy:{tap}"] == (n, h, w, c)
    for model, old in ((after.forward, before.forward), (after.backward, before.backward)):
        onnx.checker.check_model(model)
        ops, were = (Counter(node.op_type for node in one.graph.node) for one in (model, old))
        fewer = were - ops
        if precision == "fp16" and model is after.backward:
            assert not fewer  # the peak comes first
        else:
            within = {name for node in old.graph.node for name in node.input}  # ONNX Runtime's convolutions read it
            assert sum(fewer.values()) == sum(tap not in within for tap in TAPS)
            assert len(TAPS) == sum(fewer.values()) or (precision, convs) == ("tf32", False)
            assert all(op == "Transpose" or "Narrow" in op or "Widen" in op for op in fewer)
        assert not ops - were


def test_a_tap_that_lies_otherwise_stays():
    pair = narrowed(portable(pair_of((1, 3, 32, 48))), "fp16", ops=True)
    same, taps = taps_last(pair)
    assert not taps
    assert same.forward.graph.node == pair.forward.graph.node
    before, _, _ = pairs((1, 3, 32, 48), "tf32", True)
    backward = onnx.ModelProto()
    backward.CopyFrom(before.backward)
    backward.graph.node.append(helper.make_node("Neg", ["gy:conv1_1"], ["minus"]))  # one gradient has two readers
    backward.graph.output.append(helper.make_tensor_value_info("minus", TensorProto.FLOAT, None))
    _, taps = taps_last(replace(before, backward=backward))
    assert set(taps) == set(TAPS) - {"conv1_1"}
