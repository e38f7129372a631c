"""FeaturePass: a network's forward and backward graphs in two ONNX Runtime sessions, their buffers bound once.

Nothing is allocated or copied from one iteration to the next: the picture, the features at the taps, the gradients that
the losses write and the gradient on the picture are fixed arrays, and both sessions read and write them in place.
"""

import ctypes
import math
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from stylogram_export import Derivative, differentiate, winograd
from stylogram_export.domain import DOMAIN
from stylogram_export.graph import cut
from stylogram_export.specialise import specialise
from stylogram_export.split import split

from . import _core
from .errors import Error, one_of

DEVICES = ("cpu",)
CONVOLUTIONS = ("auto", "direct", "winograd")

# One arena for the sessions of the process: what forward needs between two layers, backward uses again. It grows by
# what is asked for, not by powers of two.
onnxruntime.create_and_register_allocator(
    onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    ),
    onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1}),
)
Array = NDArray[np.float32]
Shape = tuple[int, int, int, int]
Buffer = NDArray[Any]  # of an activation, or of the places of maxima


@cache
def _refusal() -> str:
    """Why ONNX Runtime does not take the library's op; "" if it does."""
    try:
        onnxruntime.SessionOptions().register_custom_ops_library(_core.__file__)
    except Exception as error:  # an older ONNX Runtime, one without custom ops: its own types, which share no base
        return " ".join(str(error).split())[:200]
    return ""


def uses_winograd(convolution: str | None = None) -> bool:
    """Whether 3x3 convolutions are Winograd's; None means what the environment's STYLOGRAM_CONVOLUTION says, or `auto`.

    `auto`: where the processor has AVX2 or AVX-512 and ONNX Runtime takes the op. The choice depends on the machine
    alone, never on a timing: the same seed gives the same bytes. Raises Error for `winograd` where it cannot be.
    """
    chosen = convolution or os.environ.get("STYLOGRAM_CONVOLUTION") or "auto"
    if chosen not in CONVOLUTIONS:
        raise one_of("convolution", chosen, CONVOLUTIONS)
    if chosen == "winograd" and _refusal():
        raise Error(f"convolution: ONNX Runtime {onnxruntime.__version__} does not take winograd's op: {_refusal()}")
    return chosen == "winograd" or (chosen == "auto" and _core.simd() != "generic" and not _refusal())


@contextmanager
def flushing() -> Iterator[None]:
    """Denormals are zero in this thread, and afterwards what they were before.

    ONNX Runtime sets that for its own threads, but for the calling one only when the first session is made, and for
    good: the embedding program's arithmetic would change with it.
    """
    before = _core.flush_denormals(True)
    try:
        yield
    finally:
        _core.flush_denormals(before)


def give_back() -> None:
    """Return freed memory to the system: building the graphs leaves several copies of the weights in glibc's heap.

    Cycles are not looked for, which takes longer than a small picture: no model, session or array hangs in one. Where
    little has come since the last time, nothing is done.
    """
    global _resident
    now = _resident_bytes()
    _resident = min(_resident, now)
    if 0 < now < _resident + LITTLE:
        return
    trim = _trim()
    if trim is not None:
        trim(0)
    _resident = _resident_bytes()


@cache
def _trim() -> Callable[[int], object] | None:
    """glibc's malloc_trim, where there is one."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


LITTLE = 16 << 20
_resident = 0  # bytes of memory after the last time


def _resident_bytes() -> int:
    """What the process has in memory; 0 where that is not known."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def check_device(device: object) -> str:
    """Return `device` if this build runs on it, else raise Error with the list of those that it does."""
    if not isinstance(device, str) or device not in DEVICES:
        raise one_of("device", str(device), DEVICES)
    return device


def available_threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def aligned(shape: Sequence[int], kind: Any = np.float32) -> Buffer:
    """A zeroed array that starts on a cache line, so that vector loads never straddle two."""
    size = math.prod(shape) * np.dtype(kind).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    view: Buffer = raw[start : start + size].view(kind)
    return view.reshape(tuple(shape))


def open_session(model: onnx.ModelProto, threads: int = 0) -> onnxruntime.InferenceSession:
    """A CPU session of `model`. `threads` 0 means all processors that the process may use."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_threads()
    options.log_severity_level = 3
    # A memory pattern is a second block beside the arena's: at 512 px 340 MB more, and no faster.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A denormal slows a convolution down 200 times; ONNX Runtime heeds this only in the first session of a process,
    # so every session of ours sets it.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Between two runs the processors belong to our kernels, not to a pool that spins.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if any(opset.domain == DOMAIN for opset in model.opset_import):
        options.register_custom_ops_library(_core.__file__)
    providers = ["CPUExecutionProvider"]
    with flushing():
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises types of its own, which share no base
            reason = " ".join(str(error).split())[:300]
            raise Error(f"ONNX Runtime {onnxruntime.__version__} does not load the network: {reason}") from error
    session._model_bytes = None  # kept to change providers later, which we never do: one more copy of the weights
    return session


def output_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Each output's closed shape."""
    return {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in model.graph.output}


def output_arrays(model: onnx.ModelProto) -> dict[str, Buffer]:
    """An array for each output, whose shape is closed."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    shapes = output_shapes(model)
    return {name: aligned(shapes[name], helper.tensor_dtype_to_np_dtype(kind)) for name, kind in kinds.items()}


class Bound:
    """One session with every input and output bound to a fixed array."""

    def __init__(self, model: onnx.ModelProto, arrays: Mapping[str, Buffer], threads: int) -> None:
        self._session = open_session(model, threads)
        self._binding = self._session.io_binding()
        self._arrays = dict(arrays)  # the binding holds bare pointers: keep what they point to
        for value in self._session.get_inputs():
            array = arrays[value.name]
            self._binding.bind_input(value.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for value in self._session.get_outputs():
            array = arrays[value.name]
            self._binding.bind_output(value.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, shrink: bool = False) -> None:
        """Run; with `shrink` the arena then returns what it does not use: for a session that runs once."""
        options = None
        if shrink:
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with flushing():
            self._session.run_with_iobinding(self._binding, options)


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """The kernels that this thread calls use so many; afterwards as many as before."""
    before = _core.threads()
    _core.set_threads(count)
    try:
        yield
    finally:
        _core.set_threads(before)


def reserve(count: int, blocks: int = 3) -> None:
    """Have the arena hold `blocks` blocks of `count` float32 values, from which smaller ones can be cut.

    A block that was made for a small layer never serves a large one, while three of the largest are all that backward
    needs at a time: made first, they spare a quarter of the arena.
    """
    names = [f"block{index}" for index in range(blocks)]
    nodes = [helper.make_node("ConstantOfShape", ["size"], [name]) for name in names]
    size = helper.make_tensor_value_info("size", TensorProto.INT64, [1])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in names]
    graph = helper.make_graph(nodes, "reserve", [size], made)
    session = open_session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), 1)
    binding = session.io_binding()
    binding.bind_cpu_input("size", np.array([count], np.int64))
    for name in names:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)


def _derivative(
    model: onnx.ModelProto, taps: list[str], shape: Shape, relu: str, convolution: str | None
) -> Derivative:
    ours = uses_winograd(convolution)  # first: what cannot be is said before anything is computed
    derivative = differentiate(model, taps, shape, relu)
    return winograd.rewrite(derivative) if ours else derivative


def convolves(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime's own convolutions are left: they have a layout of their own, and copies in it."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)


def _parts(forward: onnx.ModelProto) -> list[onnx.ModelProto]:
    return split(forward) if convolves(forward) else [forward]


def _all_ours(derivative: Derivative) -> bool:
    return not convolves(derivative.forward) and not convolves(derivative.backward)


class ForwardPass:
    """The forward half of a pass."""

    features: dict[str, Array]
    _forward: list[Bound]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(N,C,h,w) of each tap."""
        return {tap: array.shape for tap, array in self.features.items()}

    def forward(self) -> None:
        """picture -> features."""
        for part in self._forward:
            part.run()


class FeaturePass(ForwardPass):
    """Features of N pictures at some taps, and the gradient on the pictures from gradients at all taps at once.

    `picture` (N,3,H,W) is what forward() reads; `features[tap]` (N,C,h,w) what it writes; `gradients[tap]`, of the same
    shape, what backward() reads; `gradient` (N,3,H,W) what that writes. Write into these arrays; never replace them.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        taps: Sequence[str],
        shape: Shape,
        *,
        threads: int = 0,
        relu: str = "gradient",
        convolution: str | None = None,
    ) -> None:
        derivative = _derivative(model, list(taps), shape, relu, convolution)
        arrays = output_arrays(derivative.forward)
        self.taps = tuple(taps)
        self.shape = shape
        self.picture = aligned(shape)
        self.gradient = aligned(shape)
        self.features = {tap: arrays[tap] for tap in taps}
        self.gradients = {tap: aligned(arrays[tap].shape) for tap in taps}
        incoming = {f"gy:{tap}": self.gradients[tap] for tap in taps}
        arrays[derivative.forward.graph.input[0].name] = self.picture
        # Each graph goes as soon as its session is there: together they would be the peak.
        forward, backward = _parts(derivative.forward), [derivative.backward]
        largest = 0 if _all_ours(derivative) else max(array.size for array in arrays.values())
        del derivative
        give_back()
        self._forward = [Bound(forward.pop(0), arrays, threads) for _ in range(len(forward))]
        give_back()
        self._backward = Bound(backward.pop(), {**arrays, **incoming, "gx": self.gradient}, threads)
        give_back()
        if largest:
            reserve(largest)

    def descend(self) -> Iterator[tuple[str, ...]]:
        """backward() in the words of stages.StagedPass: all taps are due at once."""
        yield self.taps
        self.backward()

    def backward(self) -> None:
        """gradients -> gradient. The last forward() must have been of the same picture."""
        self._backward.run()


class Extractor:
    """The features at some taps of pictures of one shape, one after the other: forward alone, for targets.

    `picture` (N,3,H,W) is what forward() reads, `features[tap]` (N,C,h,w) what it writes.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        taps: Sequence[str],
        shape: Shape,
        *,
        threads: int = 0,
        convolution: str | None = None,
    ) -> None:
        ours = uses_winograd(convolution)
        part = specialise(cut(model, list(taps)), shape)
        if ours:
            part = winograd.rewrite_forward(part)
        # Into arrays of our own: what ONNX Runtime allocates for its outputs would stay in its arena.
        arrays = output_arrays(part)
        self.picture = aligned(shape)
        self.features = {tap: arrays[tap] for tap in taps}
        self._bound = Bound(part, {part.graph.input[0].name: self.picture, **arrays}, threads)

    def forward(self) -> None:
        """picture -> features. The arena then returns what it does not use."""
        self._bound.run(shrink=True)


def features_of(
    model: onnx.ModelProto, taps: Sequence[str], picture: Array, threads: int = 0, convolution: str | None = None
) -> dict[str, Array]:
    """The features (N,C,h,w) of `picture` (N,3,H,W) at `taps`, once: for targets."""
    count, channels, height, width = picture.shape
    made = Extractor(model, taps, (count, channels, height, width), threads=threads, convolution=convolution)
    made.picture[:] = picture
    made.forward()
    features = made.features
    del made
    give_back()
    return features
