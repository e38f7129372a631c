"""Our convolutions in ONNX Runtime's CUDA provider, without a GPU: see standin/ and scripts/standin.sh."""

import ctypes
import os
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from gpu.ops import STORED, bound, drawn, run_node, run_op, widened
from gpu.recorded import FORBIDDEN, narrow_pass, taken
from kernels.convolutions import CONVOLUTIONS, TRANSPOSED, convolved, places, transposed
from onnx import TensorProto, helper
from stylogram import _core
from stylogram.devices.graphs import Place
from stylogram.objective import Failed

pytestmark = pytest.mark.skipif(
    os.environ.get("STYLOGRAM_TEST_STANDIN") != "1", reason="scripts/standin.sh runs these, on the real provider"
)
#: Where a graph of several operations is refused: Stage in standin/cudnn.cpp.
STAGES = ("attribute", "operation", "graph", "heuristics", "engines", "plan", "workspace", "running")
ENGINES = 2  # that the stand-in names
NOTES = {"numbers": 1, "behaviour": 2, "both": 3}
PLAIN = {"pads": [1, 1], "strides": [1, 1], "dilations": [1, 1]}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_stand_in_computes_onnx_runtimes_own_convolutions(queue, computing, case):
    """What it reads from a graph is what cuDNN's own front end, which ONNX Runtime has built in, means by it."""
    filters, pads, strides, dilations, groups = case
    k, r, s, c = filters
    (x, given), (w, weights) = drawn((2, c * groups, 9, 11), 0, "float32"), drawn((k, c, r, s), 1, "float32")
    expected = convolved(x, w, None, case).numpy()
    node = helper.make_node(
        "Conv", ["x0", "x1"], ["y"], pads=[*pads, *pads], strides=strides, dilations=dilations, group=groups
    )
    assert (run_node(queue, node, [given, weights], expected.shape, TensorProto.FLOAT) == expected).all()


@pytest.mark.parametrize("case", TRANSPOSED)
def test_and_its_transposed_ones(queue, computing, case):
    (filters, pads, strides, dilations, groups), size = case
    k, r, s, c = filters
    made, left = places(*case)
    (x, given), (w, weights) = drawn((2, k, *made), 0, "float32"), drawn((k, c, r, s), 1, "float32")
    expected = transposed(x, w, None, *case).numpy()
    assert expected.shape == (2, c * groups, *size)
    node = helper.make_node(
        "ConvTranspose", ["x0", "x1"], ["y"], pads=[*pads, *pads], strides=strides, dilations=dilations, group=groups,
        output_padding=left,
    )  # fmt: skip
    assert (run_node(queue, node, [given, weights], expected.shape, TensorProto.FLOAT) == expected).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_our_convolution_with_channels_last(queue, computing, case, stored, compiled):
    """With its bias and its ReLU in cuDNN's graph, and, where that would have to be compiled, behind it."""
    computing.standin_compile(compiled)
    filters, pads, strides, dilations, groups = case
    shapes = [(2, 9, 11, filters[3] * groups), filters, filters[:1]]
    (x, given), (w, weights), (b, bias) = (drawn(shape, seed, stored) for seed, shape in enumerate(shapes))
    words = {"pads": pads, "strides": strides, "dilations": dilations}
    plain = convolved(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), None, case).permute(0, 2, 3, 1)
    for arrays, relu, expected in (
        ([given, weights], 0, plain),
        ([given, weights, bias], 0, plain + b),
        ([given, weights, bias], 1, (plain + b).relu()),
    ):
        taken()
        y = run_op(queue, "CudaConv", arrays, tuple(plain.shape), STORED[stored], relu=relu, **words)
        assert [line[1] for line in taken()].count("cudnn") == 1
        assert torch.equal(widened(y, stored).float(), expected.to(getattr(torch, stored)).float())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("case", TRANSPOSED)
def test_our_transposed_convolution_with_channels_last(queue, computing, case, stored, compiled):
    computing.standin_compile(compiled)
    (filters, pads, strides, dilations, groups), size = case
    shapes = [(2, *places(*case)[0], filters[0]), filters, (filters[3] * groups,)]
    (x, given), (w, weights), (b, bias) = (drawn(shape, seed, stored) for seed, shape in enumerate(shapes))
    words = {"pads": pads, "strides": strides, "dilations": dilations, "group": groups, "sizes": size}
    plain = transposed(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), None, *case).permute(0, 2, 3, 1)
    assert plain.shape == (2, *size, filters[3] * groups)
    for arrays, expected in (([given, weights], plain), ([given, weights, bias], plain + b)):
        taken()
        y = run_op(queue, "CudaConvTranspose", arrays, tuple(plain.shape), STORED[stored], **words)
        assert [line[1] for line in taken()].count("cudnn") == 1
        assert torch.equal(widened(y, stored).float(), expected.to(getattr(torch, stored)).float())


@pytest.mark.parametrize("op", ["CudaConv", "CudaConvTranspose"])
def test_an_engine_that_adds_up_in_any_order_is_the_last(queue, computing, op):
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((2, 3, 3, 2), np.float32)
    words = {"pads": [1, 1], "strides": [1, 1], "dilations": [1, 1]}
    words |= {"relu": 0} if op == "CudaConv" else {"group": 1, "sizes": [4, 4]}
    for unsteady, wanted in ((0, "convolution"), (1, "convolution"), (2, "convolution in any order")):
        computing.standin_unsteady(unsteady)
        taken()
        run_op(queue, op, [x, w], x.shape, TensorProto.FLOAT, **words)
        assert [line[3] for line in taken() if line[1] == "cudnn"] == [wanted]


def test_our_convolution_refuses(queue):
    x, w, b = np.ones((1, 4, 4, 3), np.float32), np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32)
    words = {"pads": [1, 1], "strides": [1, 1], "dilations": [1, 1], "relu": 1}
    shape = (1, 4, 4, 2)
    for arrays, more, match in (
        ([x, w], {}, "relu asks for a bias"),
        ([x, w[..., :2], b], {}, "weights of 2 channels do not fit x of 3"),
        ([x, w, b[:1]], {}, "bias does not have the shape"),
        ([x, w, b], {"pads": [1, 1, 1, 1]}, "pads must be 2 numbers|buffer"),
        ([x, w, b], {"pads": [0, 0], "dilations": [2, 2]}, "smaller than the filter"),
        ([x, w, b], {"pads": [0, 0], "dilations": [2, 2], "strides": [2, 2]}, "smaller than the filter"),
    ):
        with pytest.raises(Exception, match=match):
            run_op(queue, "CudaConv", arrays, shape, TensorProto.FLOAT, **(words | more))
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_refuse(9)
    with pytest.raises(
        Failed, match=r"cuDNN has no engine for x of \(1,3,4,4\) with its channels last and 2 filters of 3x3"
    ):
        run_op(queue, "CudaConv", [x, w, b], shape, TensorProto.FLOAT, **words)
    library.standin_refuse(0)


def test_our_transposed_convolution_refuses(queue):
    x, w, b = np.ones((1, 4, 4, 6), np.float32), np.ones((6, 3, 3, 2), np.float32), np.ones(4, np.float32)
    words = {"pads": [1, 1], "strides": [2, 2], "dilations": [1, 1], "group": 2, "sizes": [7, 8]}
    shape = (1, 7, 8, 4)
    run_op(queue, "CudaConvTranspose", [x, w, b], shape, TensorProto.FLOAT, **words)
    for arrays, more, match in (
        ([x, w[:4], b], {}, "4 filters in 2 groups do not fit x of 6 channels"),
        ([x, w, b], {"group": 4}, "6 filters in 4 groups do not fit"),
        ([x, w, b], {"group": 0}, "6 filters in 0 groups do not fit"),
        ([x, w, b[:2]], {}, "bias does not have the shape"),
        ([x, w[..., 0], b], {}, r"weights \(K,R,S,C/groups\)"),
        ([x, w, b], {"sizes": [7, 9]}, "x of 4x4 is not what the convolution of 7x9 makes"),
        ([x, w, b], {"sizes": [6, 8]}, "x of 4x4 is not what the convolution of 6x8 makes"),
        ([x[:, :1, :1], w, b], {"sizes": [2, 2], "pads": [0, 0]}, "the picture is smaller than the filter"),
    ):
        with pytest.raises(Exception, match=rf"CudaConvTranspose\] .*{match}"):
            run_op(queue, "CudaConvTranspose", arrays, shape, TensorProto.FLOAT, **(words | more))
    library = ctypes.CDLL("libcudnn.so.9")
    library.standin_refuse(9)
    with pytest.raises(
        Failed, match=r"CudaConvTranspose\] cuDNN has no engine for x of \(1,6,4,4\) .* 4 filters of 3x3"
    ):
        run_op(queue, "CudaConvTranspose", [x, w, b], shape, TensorProto.FLOAT, **words)
    library.standin_refuse(0)


@contextmanager
def chosen():
    """What is counted meanwhile."""
    before, made = Counter(_core.cudnn_choices()), Counter()
    yield made
    made.update(Counter(_core.cudnn_choices()) - before)


def done():
    """What cuDNN was asked to run since the last time."""
    return [line[3] for line in taken() if line[1] == "cudnn"]


def check_convolution(queue, stored="bfloat16", case=CONVOLUTIONS[0]):
    """With its bias and its ReLU it is the formula."""
    filters, pads, strides, dilations, groups = case
    shapes = [(2, 9, 11, filters[3] * groups), filters, filters[:1]]
    (x, given), (w, weights), (b, bias) = (drawn(shape, seed, stored) for seed, shape in enumerate(shapes))
    plain = convolved(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), None, case).permute(0, 2, 3, 1)
    words = {"pads": pads, "strides": strides, "dilations": dilations, "relu": 1}
    taken()
    y = run_op(queue, "CudaConv", [given, weights, bias], tuple(plain.shape), STORED[stored], **words)
    assert torch.equal(widened(y, stored).float(), (plain + b).relu().to(getattr(torch, stored)).float())


def check_transposed(queue, stored="bfloat16"):
    case, size = TRANSPOSED[0]
    filters, pads, strides, dilations, groups = case
    shapes = [(2, *places(case, size)[0], filters[0]), filters]
    (x, given), (w, weights) = (drawn(shape, seed, stored) for seed, shape in enumerate(shapes))
    plain = transposed(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), None, case, size).permute(0, 2, 3, 1)
    words = {"pads": pads, "strides": strides, "dilations": dilations, "group": groups, "sizes": size}
    taken()
    y = run_op(queue, "CudaConvTranspose", [given, weights], tuple(plain.shape), STORED[stored], **words)
    assert torch.equal(widened(y, stored).float(), plain.to(getattr(torch, stored)).float())


@pytest.mark.parametrize("stored", STORED)
def test_ways_are_counted(queue, computing, stored):
    with chosen() as made:
        check_convolution(queue, stored)
    assert made == {"fused": 1}
    computing.standin_compile(1)
    with chosen() as made:
        check_convolution(queue, stored)
        check_convolution(queue, stored)
    assert made == {"split": 2}
    computing.standin_unsteady(ENGINES)
    with chosen() as made:
        check_transposed(queue, stored)
    assert made == {"bare": 1, "unsteady": 1}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_where_cudnn_refuses_bias_and_relu_our_kernel_does_them(queue, computing, case, stage):
    computing.standin_refuse_fused(1 + STAGES.index(stage))
    failed = ENGINES if stage == "running" else 0
    with chosen() as made:
        check_convolution(queue, case=case)
    assert made == Counter(split=1, failed=failed)
    assert done() == ["failure"] * failed + ["convolution"]


@pytest.mark.parametrize("stage", STAGES)
def test_and_the_pass_keeps_its_layout(queue, computing, caplog, stage):
    computing.standin_refuse_fused(1 + STAGES.index(stage))
    with chosen() as made:
        assert narrow_pass(Place("cuda", queue, "bf16")).place.layout == "ours"
    assert made["split"] == made["bare"] == 13  # to conv5_1, and back
    assert made["fused"] == 0
    assert "another way is tried" not in caplog.text


@pytest.mark.parametrize("which", NOTES)
def test_an_engine_whose_notes_cannot_be_read_is_none_to_rely_on(queue, computing, which):
    """It may add up in any order, and may have to be compiled."""
    computing.standin_refuse_notes(NOTES[which])
    unsteady = 0 if which == "behaviour" else 1
    with chosen() as made:
        check_convolution(queue)
    assert made == Counter({"fused" if which == "numbers" else "split": 1, "unsteady": unsteady})
    with chosen() as made:
        check_transposed(queue)
    assert made == Counter(bare=1, unsteady=unsteady)


@pytest.mark.parametrize("stored", STORED)
def test_an_engine_that_fails_gives_way_to_the_next(queue, computing, stored):
    """Which needs more memory to work in."""
    computing.standin_fail(1)
    for check, way in ((check_convolution, "fused"), (check_transposed, "bare")):
        with chosen() as made:
            check(queue, stored)
        assert made == {way: 1, "failed": 1}
        assert done() == ["failure", "convolution"]


def test_so_does_one_for_which_there_is_no_memory(queue, computing):
    computing.standin_greedy(1)
    for check, way in ((check_convolution, "fused"), (check_transposed, "bare")):
        with chosen() as made:
            check(queue)
        assert made == {way: 1, "failed": 1}
        assert done() == ["convolution"]
    computing.standin_greedy(ENGINES)
    with pytest.raises(Failed, match="the GPU's memory does not suffice"):
        check_convolution(queue)


def test_where_all_fail_it_is_an_error(queue, computing):
    """Of a convolution with a bias there are the engines for all of it, and for it alone those of two heuristics."""
    computing.standin_fail(ENGINES)
    for check, graphs in ((check_convolution, 3), (check_transposed, 2)):
        with chosen() as made, pytest.raises(Failed, match=r"running a convolution: cuDNN says stand-in \(5000\)"):
            check(queue)
        assert made == {"failed": graphs * ENGINES}
        assert done() == ["failure"] * graphs * ENGINES


def test_a_plan_that_has_run_is_kept(queue, computing):
    x = np.ones((1, 4, 4, 2), np.float32)
    node = helper.make_node("CudaConv", ["x0", "x1"], ["y"], domain="stylogram", relu=0, **PLAIN)
    session, y = bound(queue, node, [x, np.ones((2, 3, 3, 2), np.float32)], x.shape, TensorProto.FLOAT)
    session.run()
    first = y.download()
    computing.standin_fail(1)
    taken()
    with chosen() as made, pytest.raises(Failed, match="running a convolution"):
        session.run()
    computing.standin_fail(0)
    with chosen() as more:
        session.run()
    assert not made + more
    assert done() == ["failure", "convolution"]
    assert (y.download() == first).all()


def test_a_problem_that_could_not_be_done_is_tried_anew(queue, computing):
    x = np.ones((1, 4, 4, 2), np.float32)
    node = helper.make_node("CudaConv", ["x0", "x1"], ["y"], domain="stylogram", relu=0, **PLAIN)
    session, _ = bound(queue, node, [x, np.ones((2, 3, 3, 2), np.float32)], x.shape, TensorProto.FLOAT)
    computing.standin_fail(ENGINES)
    with pytest.raises(Failed, match="running a convolution"):
        session.run()
    computing.standin_fail(1)
    taken()
    session.run()
    assert done() == ["failure", "convolution"]


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_the_first_run_is_not_captured(queue, computing, precision):
    """Whatever is tried, and the memory that it takes, is before the graph, in which is what has run once."""
    computing.standin_fail(1)
    taken()
    with chosen() as made:
        narrow_pass(Place("cuda", queue, precision, layout="ours"))
    assert made == {"fused": 13, "bare": 13, "failed": 26}
    lines = taken()
    assert [line[0] for line in lines if line[3] == "failure"] == ["now"] * 26
    captured = [line for line in lines if line[0] == "captured"]
    assert [line[3] for line in captured if line[1] == "cudnn"] == ["convolution"] * 26
    assert not [line for line in captured if line[1] in FORBIDDEN]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_nan_is_no_zero_behind_a_relu(queue, computing, compiled):
    computing.standin_compile(compiled)
    x, w = np.zeros((1, 4, 4, 2), np.float32), np.ones((2, 3, 3, 2), np.float32)
    x[0, 0, 0, 0] = np.nan
    arrays = [x, w, np.array([-1, 1], np.float32)]
    with chosen() as made:
        y = run_op(queue, "CudaConv", arrays, x.shape, TensorProto.FLOAT, relu=1, **PLAIN)
    assert made == {"split" if compiled else "fused": 1}
    assert np.isnan(y[0, :2, :2]).all()
    assert np.isnan(y).sum() == 8
    assert (y[0, 2:] == [0, 1]).all()
