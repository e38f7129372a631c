"""What torch.save has written, read without PyTorch: dicts of tensors, of which only those that are used are read.

Zipped, since PyTorch 1.6: a zip without compression, with the pickled dict in `<name>/data.pkl` and the bytes of each
storage in `<name>/data/<key>`. Legacy: pickles of a magic number, of a version, of facts about the machine, of the dict
and of the storages' keys, then of each storage its count and its bytes. (PyTorch's torch/serialization.py, `_save` and
`_legacy_save`; torch/_utils.py, `_rebuild_tensor_v2`.)

A pickle can call whatever it names. Here it can name what a dict of tensors consists of, and nothing else.
"""

import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

LOCAL_HEADER = 30  # bytes of a zip's header before an entry's name
BFLOAT16 = "bfloat16"
#: NumPy's name of the numbers in a storage, by PyTorch's name of its class without `Storage`.
STORAGES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": BFLOAT16, "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "?", "ComplexFloat": "c8", "ComplexDouble": "c16", "QInt8": "i1",
    "QUInt8": "u1", "QInt32": "i4", "Untyped": "u1",
}  # fmt: skip
#: The same by the name of a torch.dtype.
DTYPES = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": BFLOAT16, "int64": "i8", "int32": "i4",
    "int16": "i2", "int8": "i1", "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "?",
}  # fmt: skip


class ForeignError(ValueError):
    """The file names something that is no part of a dict of tensors."""


class DamagedError(ValueError):
    """The file ends too early, or contradicts itself."""


@dataclass(frozen=True)
class _Kind:
    """The type of numbers: a storage's class, or a dtype."""

    name: str

    @property
    def bytes(self) -> int:
        return 2 if self.name == BFLOAT16 else np.dtype(self.name).itemsize


@dataclass(frozen=True)
class _Storage:
    kind: _Kind
    key: str
    count: int
    first: int = 0  # of a view, where it begins in the storage


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    kind: _Kind
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: object) -> _Tensor:
    return _Tensor(storage, storage.kind, offset, tuple(shape), tuple(strides))


def _tensor_of(storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    """Version 3: the storage has bytes, and the type of numbers is said (after requires_grad and the hooks)."""
    return _Tensor(storage, rest[2], offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *_: object) -> Any:
    return data


KNOWN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch.Size": tuple,
    "torch.device": lambda *_: None,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in KNOWN:
            return KNOWN[full]
        if module in ("torch", "torch.cuda", "torch.storage") and name.removesuffix("Storage") in STORAGES:
            return _Kind(STORAGES[name.removesuffix("Storage")])
        if module == "torch" and name in DTYPES:
            return _Kind(DTYPES[name])
        raise ForeignError(full)

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _Kind):
            raise DamagedError("it names a storage in no known way")
        _, kind, key, _, count, *view = pid
        first = view[0][1] if view and view[0] else 0
        return _Storage(kind, str(key), int(count), int(first))


def read(path: Path) -> Any:
    """What was saved, with NumPy's arrays in the place of tensors: views of the file, float32 for bfloat16.

    Raises ForeignError, or for a file that is cut off or damaged DamagedError or what pickle and zipfile raise.
    """
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            saved, places, order = _zipped(file)
        else:
            saved, places, order = _legacy(file)
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _filled(saved, _Reader(whole, places, order))


Places = dict[str, tuple[int, int]]  # of each storage where it begins in the file, and its bytes
Order = Literal["<", ">"]  # of the bytes of a number


def _unpickled(file: IO[bytes], reader: type[_Unpickler] = _Unpickler) -> Any:
    try:
        return reader(file, encoding="utf-8").load()  # of Python 2's text, as PyTorch does
    except (AttributeError, TypeError, IndexError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise DamagedError(str(error)) from error  # what a broken pickle stumbles over


def _zipped(file: IO[bytes]) -> tuple[Any, Places, Order]:
    with zipfile.ZipFile(file) as archive:
        entries = {name.partition("/")[2]: archive.getinfo(name) for name in archive.namelist()}
        if "data.pkl" not in entries:
            raise DamagedError("it has no data.pkl")
        saved = _unpickled(BytesIO(archive.read(entries["data.pkl"])))
        order = archive.read(entries["byteorder"]) if "byteorder" in entries else b"little"
    places: Places = {}
    for name, entry in entries.items():
        if name.startswith("data/") and entry.compress_type == zipfile.ZIP_STORED:
            file.seek(entry.header_offset + LOCAL_HEADER - 4)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            begin = entry.header_offset + LOCAL_HEADER + name_length + extra_length
            places[name.removeprefix("data/")] = begin, entry.file_size
    return saved, places, ">" if order == b"big" else "<"


def _legacy(file: IO[bytes]) -> tuple[Any, Places, Order]:
    file.seek(0)
    _, _, machine = (_unpickled(file) for _ in range(3))
    kinds: dict[str, _Kind] = {}

    class Noting(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            found = super().persistent_load(pid)
            kinds.setdefault(found.key, found.kind)
            return found

    saved = _unpickled(file, Noting)
    places: Places = {}
    for key in _unpickled(file):
        head = file.read(8)
        if len(head) < 8 or key not in kinds:
            raise DamagedError("it ends before its storages")
        size = struct.unpack("<q", head)[0] * kinds[key].bytes
        places[key] = file.tell(), size
        file.seek(size, 1)
    return saved, places, "<" if machine.get("little_endian", True) else ">"


class _Reader:
    def __init__(self, whole: mmap.mmap, places: Places, order: Order) -> None:
        self._whole, self._places, self._order = whole, places, order

    def array(self, tensor: _Tensor) -> NDArray[Any]:
        kind, storage = tensor.kind, tensor.storage
        begin, size = self._places.get(storage.key, (0, 0))
        narrow = np.dtype("u2" if kind.name == BFLOAT16 else kind.name).newbyteorder(self._order)
        first = tensor.offset + storage.first
        last = first + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        empty = 0 in tensor.shape
        if begin + size > len(self._whole) or min((first, *tensor.shape, *tensor.strides), default=0) < 0:
            raise DamagedError(f"storage {storage.key} is not all there")
        if not empty and (last + 1) * narrow.itemsize > size:
            raise DamagedError(f"a tensor reaches beyond storage {storage.key}")
        if empty:
            return np.empty(tensor.shape, narrow)
        flat = np.frombuffer(self._whole, narrow, size // narrow.itemsize, begin)
        steps = [step * narrow.itemsize for step in tensor.strides]
        values = np.lib.stride_tricks.as_strided(flat[first:], tensor.shape, steps, writeable=False)
        if kind.name == BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values


def _filled(saved: Any, reader: _Reader, depth: int = 2) -> Any:
    """The same with arrays in a dict, and in the dicts in it."""
    if isinstance(saved, _Tensor):
        return reader.array(saved)
    if isinstance(saved, Mapping) and depth:
        return {key: _filled(value, reader, depth - 1) for key, value in saved.items()}
    return saved
