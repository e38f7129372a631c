"""The graphs that GPUs run, on ONNX Runtime's CPU: the same gradients, and narrow numbers that do not overflow."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from kernels import emulated
from narrow_vgg import picture, relative, weights
from onnx import TensorProto, helper
from stylogram import _core
from stylogram_export import Error, differentiate
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import WAYS, portable
from stylogram_export.graph import dims
from stylogram_export.models import vgg
from stylogram_export.precision import narrowed, narrowed_forward
from stylogram_export.prepare import prepare

#: Of a gradient: where rounding turns an activation's sign or another maximum wins, a path opens or closes.
FLIPS = 0.1
TAPS = ["conv4_2", "conv1_1", "conv2_1", "conv5_1"]


def pair_of(shape, pooling="max", scale=1.0):
    tensors = weights()
    if scale != 1:
        tensors = {
            name: value * np.float32(scale if name == "conv1_1.weight" else 1) for name, value in tensors.items()
        }
    counts = vgg.counts_of(tensors)
    return differentiate(prepare(vgg.graph("narrow", counts, len(counts) - 1, tensors, pooling)), TAPS, shape)


@pytest.fixture(autouse=True, scope="module")
def gpu(pytestconfig):
    """Our ops for the CUDA provider, on an emulated GPU."""
    emulated.queue(pytestconfig.cache.mkdir("emulated-cuda"))


def run(model, given):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.register_custom_ops_library(_core.__file__)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([v.name for v in session.get_outputs()], session.run(None, given), strict=True))


def gradients(pair, x, seed=0):
    """The forward's outputs and gx for random gradients at the taps."""
    made = run(pair.forward, {pair.forward.graph.input[0].name: x})
    rng = np.random.default_rng(seed)
    incoming = {f"gy:{tap}": rng.standard_normal(made[tap].shape, np.float32) for tap in pair.taps}
    given = made | incoming
    return made, run(pair.backward, {v.name: given[v.name] for v in pair.backward.graph.input})["gx"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_the_portable_graph_has_the_same_gradient(size, pooling, way):
    x = np.round(picture(*size, batch=2) * 4) / 4  # flat areas: ties in the pools
    pair = pair_of(x.shape, pooling)
    other = portable(pair, way)
    ops = Counter(node.op_type for node in other.backward.graph.node)
    assert not ops["MaxUnpool"]
    assert not ops["HardSigmoid"]
    outputs = {len(node.output) for node in other.backward.graph.node if node.op_type == "MaxPool"}
    assert way == "indices" or outputs <= {1}
    got, wanted = gradients(other, x)[1], gradients(pair, x)[1]
    if way == "ops":  # the gradient on the picture is a Conv, which adds up in another order
        assert not {"ScatterElements", "Where"}.intersection(ops)
        assert pooling == "avg" or not ops["ConvTranspose"]
        assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
    else:
        assert (got == wanted).all()


def test_windows_that_overlap_are_one_clear_line_without_indices():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["y"], "wide", kernel_shape=[3, 3], strides=[3, 3]),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 1, 1], [1, 2, 3, 4, 5, 6])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(Error, match=r"max-pool 'wide:again'.*2x2 side by side"):
        portable(differentiate(model, ["y"], (1, 3, 9, 9)), "planes")


@pytest.mark.parametrize("ops", [False, True])
def test_float16_gives_nearly_the_same(ops):
    x = picture(32, 48, batch=2)
    pair = portable(pair_of(x.shape))
    narrow = narrowed(pair, "fp16", ops)
    used = Counter(node.op_type for model in (narrow.forward, narrow.backward) for node in model.graph.node)
    assert (used["CudaWiden"], used["CudaNarrow"], used["CudaPeak"]) == ((len(TAPS),) * 3 if ops else (0, 0, 0))
    kinds = {v.name: v.type.tensor_type.elem_type for v in narrow.forward.graph.output}
    assert all(kinds[tap] == TensorProto.FLOAT for tap in TAPS)
    assert {kinds[name] for name in narrow.saved if name not in TAPS} <= {TensorProto.FLOAT16, TensorProto.INT64}
    made, gradient = gradients(narrow, x)
    expected, wanted = gradients(pair, x)
    for tap in TAPS:
        assert relative(made[tap], expected[tap]) < 5e-3
    assert np.linalg.norm(gradient - wanted) < FLIPS * np.linalg.norm(wanted)


@pytest.mark.parametrize("ops", [False, True])
def test_float16_gives_a_batch_what_each_picture_gets_alone(ops):
    x = picture(32, 48, batch=2) * np.array([1, 0.2], np.float32).reshape(2, 1, 1, 1)
    together = narrowed(portable(pair_of(x.shape)), "fp16", ops)
    alone = narrowed(portable(pair_of((1, *x.shape[1:]))), "fp16", ops)
    rng = np.random.default_rng(0)
    made = run(together.forward, {"x": x})
    incoming = {f"gy:{tap}": rng.standard_normal(made[tap].shape, np.float32) for tap in TAPS}
    incoming = {name: value * np.array([1, 1e-9], np.float32).reshape(2, 1, 1, 1) for name, value in incoming.items()}
    whole = run(together.backward, {v.name: (made | incoming)[v.name] for v in together.backward.graph.input})["gx"]
    for n in range(2):
        own = run(alone.forward, {"x": x[n : n + 1]}) | {name: value[n : n + 1] for name, value in incoming.items()}
        gradient = run(alone.backward, {v.name: own[v.name] for v in alone.backward.graph.input})["gx"]
        assert np.abs(gradient).max() > 0
        assert relative(whole[n : n + 1], gradient) < 1e-3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_bfloat16_is_a_valid_graph(pooling, way):
    """ONNX Runtime's CPU has no convolution of bfloat16: types and shapes are checked, values are not."""
    narrow = narrowed(portable(pair_of((1, 3, 32, 48), pooling), way), "bf16")
    for model in (narrow.forward, narrow.backward):
        standard = way != "ops"
        onnx.checker.check_model(model, full_check=standard)
        kinds = onnx.shape_inference.infer_shapes(model, strict_mode=standard).graph.value_info
        narrow_ones = [v.name for v in kinds if v.type.tensor_type.elem_type == TensorProto.BFLOAT16]
        convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
        assert convolved <= {*narrow_ones, *(v.name for v in model.graph.output)}


def test_features_of_a_hundred_thousand_fit_into_float16():
    x = picture(32, 48)
    factor = 1e5 / float(gradients(pair_of(x.shape), x)[0]["conv2_1"].max())
    pair = portable(pair_of(x.shape, scale=factor))
    expected, wanted = gradients(pair, x)
    assert expected["conv2_1"].max() > 65504
    made, gradient = gradients(narrowed(pair, "fp16"), x)
    for tap in TAPS:
        assert relative(made[tap], expected[tap]) < 5e-3
    assert np.linalg.norm(gradient - wanted) < FLIPS * np.linalg.norm(wanted)
    assert relative(run(narrowed_forward(pair.forward, "fp16"), {"x": x})["conv2_1"], expected["conv2_1"]) < 5e-3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_channels_last_changes_nothing(pooling, precision):
    x = picture(33, 48, batch=2)
    pair = narrowed(portable(pair_of(x.shape, pooling)), precision, ops=True)
    last = channels_last(pair)
    wanted, made = gradients(pair, x), gradients(last, x)
    for tap in TAPS:
        assert (made[0][tap] == wanted[0][tap]).all()
    # ONNX Runtime's CPU computes float16 in float32, and rounds between other nodes where there are Transposes.
    most = FLIPS * np.linalg.norm(wanted[1]) if precision == "fp16" else 0
    assert np.linalg.norm(made[1] - wanted[1]) <= most
    kept = {v.name: dims(v) for v in last.forward.graph.output if v.name not in TAPS}
    assert set(kept) == set(last.saved)
    first = {v.name: dims(v) for v in pair.forward.graph.output}
    for name, sizes in kept.items():
        n, c, h, w = first[name.removesuffix(":kept")]
        assert sizes == (n, h, w, c)
    given = {v.name for v in last.backward.graph.input}
    assert not given.intersection(TAPS)


def test_an_op_that_cannot_be_scaled_is_one_clear_line():
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"], "bend")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 9, 9])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(Error, match=r"fp16: the op Sigmoid \('bend'\) depends on its input's scale"):
        narrowed_forward(model, "fp16")
    with pytest.raises(Error, match="unknown precision 'fp8'; accepted: "):
        narrowed_forward(model, "fp8")
