"""ONNX: a network rather than weights alone. Protocol buffers have no signature: the fields are looked at."""

from pathlib import Path
from typing import BinaryIO

from ..network import Network
from ..network import load as load_network

NAME = "ONNX (.onnx)"
IR_VERSION = 0x08  # tags of ModelProto's fields: number · 8 + wire type
GRAPH = 0x3A
# producer, its version, domain, model version, doc, graph, opset, metadata, training, functions, configuration
OTHERS = (0x12, 0x1A, 0x22, 0x28, 0x32, GRAPH, 0x42, 0x72, 0xA2, 0xCA, 0xD2)


def recognise(head: bytes, path: Path) -> bool:
    """ir_version first, as most writers put it, then another field of a model; or whole, in any order, with a graph."""
    if len(head) > 2 and head[0] == IR_VERSION and head[1] < 0x80 and head[2] in OTHERS:
        return True  # of a file that is cut off too
    if head[0] not in OTHERS:
        return False
    with path.open("rb") as file:
        tags = _tags(file, path.stat().st_size)
    return GRAPH in tags and IR_VERSION in tags


def _tags(file: BinaryIO, size: int) -> set[int]:
    """The first bytes of the tags of the fields, if the file is nothing but fields of a model; else none."""
    tags = set()
    while file.tell() < size:
        tag = file.read(1)[0]
        if tag not in (IR_VERSION, *OTHERS) or (tag >= 0x80 and file.read(1) != b"\x01"):
            return set()
        tags.add(tag)
        value = _varint(file)
        if tag & 7 == 2:  # the length of what follows
            file.seek(min(value, size + 1), 1)
    return tags if file.tell() == size else set()


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while shift < 64 and (byte := file.read(1)):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    return value


def load(path: Path) -> Network:
    """The network of the file, its preprocessing and layers from its metadata."""
    return load_network(path)
