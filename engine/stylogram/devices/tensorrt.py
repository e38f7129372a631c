"""TensorRT as a provider: its libraries, its options, and the caches of its engines."""

import ctypes
import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto
from stylogram_export.graph import inferred
from stylogram_export.precision import HEAD

from ..errors import Error
from ..zoo import cache_directory

_log = logging.getLogger("stylogram")
PROVIDER = "TensorrtExecutionProvider"
NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
NO_TF32 = "NVIDIA_TF32_OVERRIDE"
MAJOR, MINOR = 10, 14  # of libnvinfer that ONNX Runtime's provider is built with; a later minor one is as good
PIP = f"pip install 'tensorrt-cu13>={MAJOR}.{MINOR},<{MAJOR + 1}'"
LIBRARIES = (f"libnvinfer.so.{MAJOR}", f"libnvinfer_plugin.so.{MAJOR}", f"libnvonnxparser.so.{MAJOR}")


def missing() -> str:
    """Why TensorRT cannot be used here, with the line that installs it; "" if its libraries are loaded."""
    if PROVIDER not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} is built without TensorRT: pip install 'stylogram[tensorrt]'"
    return _load()


def _folder() -> Path | None:
    """Where pip's tensorrt packages keep their libraries."""
    found = importlib.util.find_spec("tensorrt_libs")
    return None if found is None or found.origin is None else Path(found.origin).parent


@cache
def _load() -> str:
    folder = _folder()
    try:
        for name in LIBRARIES:
            path = folder / name if folder is not None and (folder / name).exists() else name
            library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            if name == LIBRARIES[0] and library.getInferLibVersion() < MAJOR * 10000 + MINOR * 100:
                there = "{}.{}".format(*divmod(library.getInferLibVersion() // 100, 100))
                return f"TensorRT {MAJOR}.{MINOR} or a later {MAJOR} is needed, and {there} is installed: {PIP}"
    except OSError:
        return _wrong(folder) or f"TensorRT {MAJOR} is not found ({LIBRARIES[0]}): {PIP}"
    return ""


def _wrong(folder: Path | None) -> str:
    there = [] if folder is None else sorted(path.name for path in folder.glob("libnvinfer.so.*"))
    if not there:
        return ""
    return f"TensorRT {MAJOR} is needed ({LIBRARIES[0]}), and {', '.join(there)} is installed: {PIP}"


def key(model: bytes, precision: str) -> str:
    """What an engine depends on beside the GPU and the versions of TensorRT and CUDA, for which ONNX Runtime has a part
    of the file's name: the graph, with its shapes and weights, the precision, and ONNX Runtime's version."""
    digest = hashlib.sha256(model)
    digest.update(f"{precision} {onnxruntime.__version__}".encode())
    return digest.hexdigest()[:24]


def engines() -> Path:
    """The directory of engines and timings. Raises Error where it cannot be made."""
    folder = cache_directory() / "tensorrt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Error(f"device tensorrt: the cache {folder} cannot be made: {problem.strerror}") from None
    return folder


def is_built(model: bytes, precision: str) -> bool:
    """Whether an engine of this graph is in the cache; else making a session takes minutes, which is to be said."""
    return bool(_built(model, precision))


def _built(model: bytes, precision: str) -> list[Path]:
    return list(engines().glob(f"{key(model, precision)}_*.engine"))


@contextmanager
def building(precision: str) -> Iterator[None]:
    """TensorRT multiplies float32 as TF32 unless this is set while it builds; ONNX Runtime has no option for it."""
    before = os.environ.get(NO_TF32)
    if precision == "fp32":
        os.environ[NO_TF32] = "0"
    try:
        yield
    finally:
        if precision == "fp32" and before is None:
            del os.environ[NO_TF32]
        elif precision == "fp32":
            os.environ[NO_TF32] = str(before)


def forgotten(problem: Exception, model: bytes, precision: str) -> bool:
    """Whether the problem was an engine in the cache that cannot be read, as one cut off: it is taken out."""
    if "could not deserialize engine" not in str(problem):
        return False
    _log.warning("an engine of TensorRT's in the cache cannot be read, and is built again: minutes")
    for path in _built(model, precision):
        path.unlink(missing_ok=True)
    return True


def around(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators that stay with ONNX Runtime's CUDA if a network is narrow: TensorRT, told that it may narrow, may
    narrow all that it is given. An operator is left out as such, so none that the narrow network has too."""
    kinds = {name: value.type.tensor_type.elem_type for name, value in inferred(model).items()}
    narrow = {node.op_type for node in model.graph.node for name in node.output if kinds.get(name) in NARROW}
    return ("Cast", *(op for op in HEAD if op not in narrow))


def options(index: int, stream: int, precision: str, model: bytes, left: Sequence[str] = ()) -> dict[str, str]:
    """ONNX Runtime's options of its TensorRT provider; `left`: operators that are not for it. The graph's Casts say
    what is narrow; TensorRT has to be told that it may use such types at all. ONNX Runtime's own CUDA graph is off: it
    waits for the GPU in every run."""
    folder = str(engines())
    return {
        "device_id": str(index),
        "user_compute_stream": str(stream),
        "trt_fp16_enable": str(precision == "fp16"),  # True or False: "1" is refused
        "trt_bf16_enable": str(precision == "bf16"),
        "trt_op_types_to_exclude": ",".join(left),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": folder,
        "trt_engine_cache_prefix": key(model, precision),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": folder,
    }
