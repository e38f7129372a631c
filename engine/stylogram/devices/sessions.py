"""DevicePass: FeaturePass on a GPU. Both sessions read and write GPU arrays, in the queue of our kernels."""

import ctypes
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from stylogram_export import beside
from stylogram_export.taps_last import taps_last

from .. import _core, losses
from ..errors import Error
from ..objective import Failed
from ..session import Array, Shape, output_shapes
from . import tensorrt
from .arrays import DeviceArray, Graph, Host, Queue
from .features import DeviceFeatures
from .graphs import NARROW, Place, derivative_for, forward_for
from .library import explained

_log = logging.getLogger("stylogram")
CUDA = "CUDAExecutionProvider"
#: What ONNX Runtime's CUDA provider is linked with (1.31: CUDA 13, cuDNN 9).
LIBRARIES = ("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9")
PIP_LIBRARIES = "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.31,<1.32'"
PIP_CUDA = "pip uninstall -y onnxruntime; pip install --force-reinstall 'stylogram[cuda]'"


def missing() -> str:
    """Why ONNX Runtime's CUDA cannot be used here, with the line that installs it; "" if its libraries are loaded."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} is built without CUDA: {PIP_CUDA}"
    return _load()


@cache
def _load() -> str:
    """Load CUDA's and cuDNN's libraries, from pip's nvidia-* packages where they are installed. What ONNX Runtime
    cannot load it leaves out without an error, and says later that nothing runs on the GPU."""
    onnxruntime.set_default_logger_severity(3)  # errors: it warns of nothing for every session, on the user's screen
    load = getattr(onnxruntime, "preload_dlls", None)
    if load is not None:
        with redirect_stdout(io.StringIO()):  # it prints what it does not find
            load()
    lost = []
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            lost.append(name)
    return f"{', '.join(lost)} cannot be loaded: {PIP_LIBRARIES}" if lost else ""


def cuda_options(place: Place) -> dict[str, str]:
    """ONNX Runtime's options of its CUDA provider."""
    return {
        "device_id": str(place.queue.index),
        "user_compute_stream": str(place.queue.handle),
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE costs up to a second for every shape, and wins nothing
        "use_tf32": "0" if place.precision == "fp32" else "1",
        "prefer_nhwc": "1" if place.layout == "last" else "0",
        "enable_cuda_graph": "1" if place.graphs and place.kind == "cuda" else "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def providers(place: Place, model: onnx.ModelProto, data: bytes) -> list[Any]:
    """The providers of a session of `model`, whose bytes are `data`, with their options."""
    if place.kind == "host":
        return ["CPUExecutionProvider"]
    cuda = (CUDA, cuda_options(place))
    if place.kind == "cuda":
        return [cuda]
    left = tensorrt.around(model) if place.precision in NARROW else ()
    given = tensorrt.options(place.queue.index, place.queue.handle, place.precision, data, left)
    return [(tensorrt.PROVIDER, given), cuda]


def open_session(model: onnx.ModelProto, place: Place) -> onnxruntime.InferenceSession:
    """A session of `model` on the GPU, and nowhere else: what would run on the CPU is an error."""
    if place.kind == "tensorrt":  # an engine is kept for a whole file
        model = beside.filled(model)
    given = beside.given(model)
    options = _options(given)
    if place.kind != "host":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    data = model.SerializeToString()
    if place.kind == "tensorrt" and not tensorrt.is_built(data, place.precision):
        _log.warning("TensorRT builds an engine for this network, size and precision: minutes, once")
    chosen = providers(place, model, data)
    try:
        session = _made(data, options, chosen, place)
    except Exception as problem:  # ONNX Runtime raises types of its own, which share no base
        text = " ".join(str(problem).split())
        if "default CPU EP" in text or "have not been partitioned" in text:
            lacks = ", ".join(_on_cpu(data, given, chosen)) or f"operator ({text[:200]})"
            raise Error(
                f"device {place.kind}: ONNX Runtime's provider has no {lacks} in {place.precision}, of which this "
                "network has some; another --precision or --device cpu may do"
            ) from None
        raise explained(problem, f"device {place.kind}, making a session") from problem
    wanted = chosen[0] if isinstance(chosen[0], str) else chosen[0][0]
    if session.get_providers()[0] != wanted:  # a library that it could not load is no error for ONNX Runtime
        raise Error(f"device {place.kind}: ONNX Runtime could not load {wanted}: {_library_hint(place)}")
    session._model_bytes = None  # one more copy of the weights
    session._given = given  # which ONNX Runtime does not keep
    return session


def _made(data: bytes, options: Any, chosen: Sequence[Any], place: Place) -> onnxruntime.InferenceSession:
    if place.kind != "tensorrt":
        return onnxruntime.InferenceSession(data, options, providers=chosen, enable_fallback=0)
    with tensorrt.building(place.precision):
        try:
            return onnxruntime.InferenceSession(data, options, providers=chosen, enable_fallback=0)
        except Exception as problem:
            if not tensorrt.forgotten(problem, data, place.precision):
                raise
        return onnxruntime.InferenceSession(data, options, providers=chosen, enable_fallback=0)


def _options(given: Mapping[str, tuple[Host, int]]) -> onnxruntime.SessionOptions:
    """Options of every session, and the constants that lie beside its model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is an error here is raised
    options.intra_op_num_threads = 1  # else a thread for each processor is started, and none has anything to do
    options.register_custom_ops_library(_core.__file__)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(*numbers) for numbers in given.values()]
    options.add_external_initializers(list(given), values)
    return options


def _on_cpu(data: bytes, numbers: Mapping[str, tuple[Host, int]], chosen: Sequence[Any]) -> list[str]:
    """The operators that would run on the CPU."""
    options = _options(numbers)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    without = [(name, {**given, "enable_cuda_graph": "0"} if name == CUDA else given) for name, given in chosen]
    session = onnxruntime.InferenceSession(data, options, providers=without, enable_fallback=0)
    parts = session.get_provider_graph_assignment_info()
    return sorted(
        {node.op_type for part in parts if part.ep_name == "CPUExecutionProvider" for node in part.get_nodes()}
    )


def _library_hint(place: Place) -> str:
    return tensorrt.PIP if place.kind == "tensorrt" else f"CUDA 13 and cuDNN 9 are needed: {PIP_LIBRARIES}"


def outputs(model: onnx.ModelProto, queue: Queue) -> dict[str, tuple[DeviceArray, int]]:
    """A GPU array for each output, and ONNX's number of its type."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    made = {}
    for name, shape in output_shapes(model).items():
        made[name] = (queue.empty(shape, numpy_type(kinds[name])), kinds[name])
    return made


def numpy_type(kind: int) -> Any:
    """NumPy's type for ONNX's number of one; of bfloat16 the bits."""
    return np.uint16 if kind == TensorProto.BFLOAT16 else helper.tensor_dtype_to_np_dtype(kind)


class _Bound:
    """One session with every input and output bound to a GPU array."""

    def __init__(self, model: onnx.ModelProto, arrays: Mapping[str, tuple[DeviceArray, int]], place: Place) -> None:
        self._session = open_session(model, place)
        self._binding = self._session.io_binding()
        self._arrays = dict(arrays)  # the binding holds bare addresses: keep what they point to
        self._place = place
        self._options = onnxruntime.RunOptions()
        if place.kind != "host":  # our kernels follow in the same queue: nobody has to wait
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        for bind, values in (
            (self._binding.bind_input, self._session.get_inputs()),
            (self._binding.bind_output, self._session.get_outputs()),
        ):
            for value in values:
                array, kind = arrays[value.name]
                bind(value.name, place.memory, place.queue.index, kind, array.shape, array.address)
        self._graph: Graph | None = None
        self._captures = place.graphs and place.kind == "tensorrt"

    def run(self) -> None:
        if self._graph is not None:
            self._graph.run()
            return
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as problem:  # its own types again
            raise explained(problem, f"device {self._place.kind}, running the network") from problem
        if self._captures:  # after a run as it is, which is when TensorRT makes ready
            self._captures = False
            self._capture()

    def _capture(self) -> None:
        made: list[Graph] = []
        try:
            with self._place.queue.capture(made):
                self._session.run_with_iobinding(self._binding, self._options)
        except Exception as problem:
            _log.warning("runs without a CUDA graph, which is slower: %s", explained(problem, "capturing the network"))
        else:
            self._graph = made[0]


class DevicePass:
    """Features of N pictures at some taps, and the gradient on the pictures from gradients at the taps, on a GPU.

    Setting up, it is used as a FeaturePass: `picture` (N,3,H,W) and `features[tap]` are NumPy arrays, which forward()
    carries up and down. In the loop `forward_only` and `backward` work on the GPU arrays `on_gpu` (picture) and
    `gradient_on_gpu`, and on `taps_on_gpu` and `gradients_on_gpu`, which lie as the network has them (DeviceFeatures);
    nothing is carried.
    """

    def __init__(
        self, model: onnx.ModelProto, taps: Sequence[str], shape: Shape, place: Place, relu: str = "gradient"
    ) -> None:
        queue = place.queue
        self.taps, self.shape, self.place = tuple(taps), shape, place
        self.picture = np.zeros(shape, np.float32)
        self.on_gpu, self.gradient_on_gpu = queue.zeros(shape), queue.zeros(shape)
        with beside.current() as constants:
            model = constants.thinned(model)
            for layout in place.tried:
                self.place = replace(place, layout=layout)
                if self._opened(model, relu, last=layout == place.tried[-1]):
                    break

    def _opened(self, model: onnx.ModelProto, relu: str, last: bool) -> bool:
        """Whether the sessions could be opened; not if cuDNN refuses a layout and there is another."""
        try:
            self._open(model, relu, self.place)
        except Failed as problem:
            if last or "cudnn" not in str(problem).lower():
                raise
            _log.warning("cuDNN has no convolution with channels last (%s), and another way is tried: %s",
                         self.place.layout, problem)  # fmt: skip
            return False
        return True

    def _open(self, model: onnx.ModelProto, relu: str, place: Place) -> None:
        """Both sessions, run once: that is when ONNX Runtime asks cuDNN for convolutions, and captures its graphs."""
        queue, taps = place.queue, self.taps
        pair = derivative_for(model, taps, self.shape, relu, place)
        pair, last = (pair, {}) if place.layout == "first" else taps_last(pair)
        arrays = outputs(pair.forward, queue)
        self.taps_on_gpu = {
            tap: DeviceFeatures(arrays[last[tap].output][0], True, last[tap].unit)
            if tap in last
            else DeviceFeatures(arrays[tap][0])
            for tap in taps
        }
        self.shapes = {tap: features.shape for tap, features in self.taps_on_gpu.items()}
        self.gradients_on_gpu, incoming = {}, {}
        for value in pair.backward.graph.input:
            tap, kind = value.name.removeprefix("gy:"), value.type.tensor_type.elem_type
            if tap == value.name:
                continue
            there = queue.zeros(self.taps_on_gpu[tap].array.shape, numpy_type(kind))
            self.gradients_on_gpu[tap] = DeviceFeatures(there, self.taps_on_gpu[tap].channels_last)
            incoming[value.name] = there, kind
        arrays[pair.forward.graph.input[0].name] = (self.on_gpu, TensorProto.FLOAT)
        self._forward = _Bound(pair.forward, arrays, place)
        self._backward = _Bound(
            pair.backward, {**arrays, **incoming, "gx": (self.gradient_on_gpu, TensorProto.FLOAT)}, place
        )
        self.forward_only()
        self.backward()

    @property
    def features(self) -> Mapping[str, Array]:
        """The features of the last forward(): a copy on the host of each that is asked for."""
        return _Downloads(self.taps_on_gpu)

    def upload(self) -> None:
        """`picture` to the GPU."""
        self.on_gpu.upload(self.picture)

    def forward(self) -> None:
        """`picture` -> `features`."""
        self.upload()
        self.forward_only()

    def forward_only(self) -> None:
        """The picture on the GPU -> features there."""
        self._forward.run()

    def features_of(self, taps: Sequence[str], picture: Array) -> dict[str, DeviceFeatures]:
        """As the function of this name, of a picture of the pass's shape. They are there until the next forward."""
        self.on_gpu.upload(picture)
        self.forward_only()
        return {tap: self.taps_on_gpu[tap] for tap in taps}

    def backward(self) -> None:
        """Gradients -> gradient, both on the GPU."""
        self._backward.run()


class _Downloads(Mapping[str, Array]):
    def __init__(self, arrays: Mapping[str, DeviceFeatures]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name].download()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def features_of(model: onnx.ModelProto, taps: Sequence[str], picture: Array, place: Place) -> dict[str, DeviceFeatures]:
    """The features (N,C,h,w) of `picture` (N,3,H,W) at `taps`, once, on the GPU: for targets. An engine of TensorRT's
    for one run would cost minutes: ONNX Runtime's CUDA has it."""
    with beside.current() as constants:
        part = forward_for(constants.thinned(model), taps, picture.shape, place)
        arrays = outputs(part, place.queue)
        source = place.queue.upload(np.ascontiguousarray(picture, np.float32))
        kind = "cuda" if place.kind == "tensorrt" else place.kind
        once = replace(place, kind=kind, graphs=False, layout="first")
        bound = _Bound(part, {part.graph.input[0].name: (source, TensorProto.FLOAT), **arrays}, once)
    bound.run()
    return {tap: DeviceFeatures(arrays[tap][0]) for tap in taps}


def wanted(features: Mapping[str, DeviceFeatures], loss: str) -> Mapping[str, Any]:
    """Features as a style loss takes them for its targets: on the GPU, or a copy on the host."""
    there = hasattr(losses.load("style", loss).Term, "to")
    return features if there else {tensor: values.download() for tensor, values in features.items()}
