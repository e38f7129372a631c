"""ONNX: a network rather than weights alone. Protocol buffers have no signature: the first fields are looked at."""

from pathlib import Path

from ..network import Network
from ..network import load as load_network

NAME = "ONNX (.onnx)"
IR_VERSION = 0x08  # tags of ModelProto's fields: number · 8 + wire type
OTHERS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)  # producer, version, domain, ..., graph, opset, metadata


def recognise(head: bytes, path: Path) -> bool:
    """ir_version first, as every writer puts it, then another field of a model; or the file's name says it."""
    starts = len(head) > 2 and head[0] == IR_VERSION and head[1] < 0x80 and head[2] in OTHERS
    return starts or path.suffix.lower() == ".onnx"


def load(path: Path) -> Network:
    """The network of the file, its preprocessing and layers from its metadata."""
    return load_network(path)
