"""TensorRT as a provider: its libraries, its options, and the caches of its engines."""

import ctypes
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

import onnxruntime

from ..errors import Error
from ..zoo import cache_directory

PROVIDER = "TensorrtExecutionProvider"
MAJOR = 10  # of libnvinfer that ONNX Runtime's provider is linked with
PIP = f"pip install 'tensorrt-cu13>={MAJOR}.13,<{MAJOR + 1}'"
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
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return _wrong(folder) or f"TensorRT {MAJOR} is not found ({LIBRARIES[0]}): {PIP}"
    return ""


def _wrong(folder: Path | None) -> str:
    there = [] if folder is None else sorted(path.name for path in folder.glob("libnvinfer.so.*"))
    if not there:
        return ""
    return f"TensorRT {MAJOR} is needed ({LIBRARIES[0]}), and {', '.join(there)} is installed: {PIP}"


def key(model: bytes, precision: str) -> str:
    """What an engine depends on beside the GPU and TensorRT's version, which TensorRT looks at itself: the graph, with
    its shapes and weights, the precision, and ONNX Runtime's version."""
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
    return any(engines().glob(f"{key(model, precision)}*.engine"))


def options(index: int, stream: int, precision: str, model: bytes) -> dict[str, str]:
    """ONNX Runtime's options of its TensorRT provider. The graph's Casts say what is narrow; TensorRT has to be told
    that it may use such types at all."""
    folder = str(engines())
    return {
        "device_id": str(index),
        "user_compute_stream": str(stream),
        "trt_fp16_enable": "1" if precision == "fp16" else "0",
        "trt_bf16_enable": "1" if precision == "bf16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_engine_cache_prefix": key(model, precision),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_cuda_graph_enable": "1",
    }
