""".safetensors: eight bytes of length, a JSON header, the tensors. Keys as in a .pth.

`stylogram.preprocess` in the header's `__metadata__` states the preprocessing: a name, or Preprocess.to_json.
"""

import json
from pathlib import Path

from ..errors import Error
from ..preprocess import PREPROCESS, Preprocess, named
from . import Weights
from ._keys import from_pytorch, is_canonical, missing, weights

NAME = "safetensors (.safetensors)"


def recognise(head: bytes, path: Path) -> bool:
    """A length that fits into the file, and JSON's brace after it."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= max(path.stat().st_size - 8, len(head) ** 2)


def load(path: Path) -> Weights:
    """The tensors; float16 and bfloat16 ones are widened."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing("safetensors", path) from error
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError, TypeError, json.JSONDecodeError) as error:
        raise Error(f"{path}: not a safetensors file, or cut off: {str(error)[:160]}") from error
    chosen = _stated(metadata.get("stylogram.preprocess"))
    if chosen is None and is_canonical(tensors):
        chosen = PREPROCESS["caffe"]
    return weights(path, from_pytorch(path, tensors), chosen)


def _stated(text: str | None) -> Preprocess | None:
    if text is None:
        return None
    return Preprocess.from_json(text) if text.startswith("{") else named(text)
