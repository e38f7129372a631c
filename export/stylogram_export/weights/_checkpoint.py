"""What torch.save has written, read without PyTorch: a dict of tensors, of which only those that are used are read.

Zipped, since PyTorch 1.6: a zip without compression, with the pickled dict in `<name>/data.pkl` and the bytes of each
storage in `<name>/data/<key>`. Legacy: pickles of a magic number, of a version, of facts about the machine, of the dict
and of the storages' keys, then of each storage its count and its bytes. (PyTorch's torch/serialization.py, `_save` and
`_legacy_save`; torch/_utils.py, `_rebuild_tensor_v2`.)

A pickle is a program. Of its instructions those are carried out here that put dicts, lists, texts and numbers together,
and it can call, of all that it may name, what makes tensors; what else checkpoints have in them is stood in for.
"""

import math
import mmap
import pickle
import re
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
LARGEST = 1 << 26  # bytes of a pickle; those of networks are kilobytes
AXES = 64
REPEATED = 1 << 20  # numbers that a tensor may have more than its storage
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
OTHER_DTYPES = re.compile(r"(complex|float|bits|q?u?int)[a-z0-9_]*")


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


class _Ignored:
    """What stands for something that a checkpoint has beside its tensors."""

    def append(self, *_: object) -> None:
        """Nothing: so it is filled."""

    extend = add = update = append


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > AXES or not all(isinstance(n, int) for n in values):
        raise DamagedError("a tensor's sizes are not numbers")
    if any(not 0 <= n < 1 << 48 for n in values):
        raise DamagedError("a tensor reaches beyond its storage")
    return tuple(values)


def _made(storage: Any, kind: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(kind, _Kind):
        raise DamagedError("a tensor has no storage")
    (first,) = _sizes([offset])
    made = _Tensor(storage, kind, first, _sizes(shape), _sizes(strides))
    if len(made.shape) != len(made.strides) or math.prod(made.shape) > max(storage.count, REPEATED):
        raise DamagedError("a tensor reaches beyond its storage")
    return made


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> _Tensor:
    return _made(storage, getattr(storage, "kind", None), offset, shape, strides)


def _tensor_of(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    """Version 3: the storage has bytes, and the type of numbers is said (after requires_grad and the hooks)."""
    return _made(storage, rest[2], offset, shape, strides)


def _parameter(data: Any, *_: object) -> Any:
    return data


def _typed(function: Any, _type: object, arguments: Any, *_: object) -> Any:
    """A tensor of a class of its own, or with attributes."""
    return function(*arguments) if function in CALLED.values() and function is not _typed else _Ignored()


#: What may be called.
CALLED: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch.Size": _sizes,
}
#: What may be named, and is stood in for.
IGNORED = frozenset((
    "__builtin__.bytearray", "__builtin__.complex", "__builtin__.set", "_codecs.encode", "builtins.bytearray",
    "builtins.complex", "builtins.set", "collections.Counter", "collections.defaultdict", "torch.Tensor",
    "torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_nested_tensor",
    "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor", "torch.device", "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter", "torch.per_channel_affine", "torch.per_tensor_affine",
    "torch.serialization._get_layout",
))  # fmt: skip
#: The instructions that are carried out, by the names of pickle's constants.
OPCODES = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "APPEND", "APPENDS", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL",
    "BINPERSID",
)  # fmt: skip


class _Unpickler(pickle._Unpickler):
    """Python's own, written in Python: its instructions can be chosen, and what it remembers is a dict."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in CALLED:
            return CALLED[full]
        if module in ("torch", "torch.cuda", "torch.storage") and name.removesuffix("Storage") in STORAGES:
            return _Kind(STORAGES[name.removesuffix("Storage")])
        if module == "torch" and name in DTYPES:
            return _Kind(DTYPES[name])
        if full in IGNORED or (module == "torch" and OTHER_DTYPES.fullmatch(name)):
            return _Ignored()
        raise ForeignError(full)

    def persistent_load(self, pid: Any) -> _Storage:
        good = isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], _Kind)
        if not good or not isinstance(pid[2], str | int):
            raise DamagedError("it names a storage in no known way")
        _, kind, key, _, count, *view = pid
        first = view[0][1] if view and isinstance(view[0], tuple) and len(view[0]) > 1 else 0
        return _Storage(kind, str(key), *_sizes([count, first]))

    def set_items(self) -> None:
        items, made = self.pop_mark(), self.stack[-1]
        self._put(made, items[::2], items[1::2])

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put(self.stack[-1], [key], [value])

    def _put(self, made: Any, keys: list[Any], values: list[Any]) -> None:
        if not all(isinstance(key, str | bytes | int | float | None) for key in keys):
            raise DamagedError("a key is neither text nor number")
        if isinstance(made, dict):
            made.update(zip(keys, values, strict=True))
        elif not isinstance(made, _Ignored):
            raise DamagedError("entries of no dict")

    def add_items(self) -> None:
        self.pop_mark()

    def empty_set(self) -> None:
        self.append(_Ignored())

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, _Ignored):
            self.append(function)
        elif function in CALLED.values() and isinstance(arguments, tuple):
            self.append(function(*arguments))
        else:
            raise DamagedError("it calls what cannot be called")

    def build(self) -> None:
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | _Ignored):  # an OrderedDict's metadata
            raise DamagedError("it changes what cannot be changed")


_HANDLERS: dict[int, Any] = {
    getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in OPCODES
}
_Unpickler.dispatch = _HANDLERS | {
    pickle.SETITEM[0]: _Unpickler.set_item, pickle.SETITEMS[0]: _Unpickler.set_items,
    pickle.ADDITEMS[0]: _Unpickler.add_items, pickle.EMPTY_SET[0]: _Unpickler.empty_set,
    pickle.REDUCE[0]: _Unpickler.call, pickle.NEWOBJ[0]: _Unpickler.call, pickle.BUILD[0]: _Unpickler.build,
}  # fmt: skip


def read(path: Path) -> Any:
    """What was saved, with NumPy's arrays in the place of the tensors that are in it or in its `state_dict`: views of
    the file, float32 for bfloat16.

    Raises ForeignError; and for a file that is cut off or damaged DamagedError, or whatever pickle, zipfile and NumPy
    stumble over.
    """
    with path.open("rb") as file:
        saved, places, order = _zipped(file) if file.read(4) == b"PK\x03\x04" else _legacy(file)
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = _Reader(whole, places, order)
    if isinstance(saved, dict) and isinstance(saved.get("state_dict"), dict):
        saved = {**saved, "state_dict": reader.filled(saved["state_dict"])}
    return reader.filled(saved) if isinstance(saved, dict) else saved


Places = dict[str, tuple[int, int]]  # of each storage where it begins in the file, and its bytes
Order = Literal["<", ">"]  # of the bytes of a number


def _unpickled(file: IO[bytes], reader: type[_Unpickler] = _Unpickler) -> Any:
    return reader(file, encoding="utf-8").load()  # of Python 2's text, as PyTorch does


def _zipped(file: IO[bytes]) -> tuple[Any, Places, Order]:
    places: Places = {}
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if "data.pkl" not in entries or entries["data.pkl"].file_size > LARGEST:
            raise DamagedError("it has no data.pkl, or one of gigabytes")
        saved = _unpickled(BytesIO(archive.read(entries["data.pkl"])))
        big = "byteorder" in entries and archive.open(entries["byteorder"]).read(8) == b"big"
    for name, entry in entries.items():
        if not name.startswith("data/"):
            continue
        if entry.compress_type != zipfile.ZIP_STORED:
            raise DamagedError("its storages are compressed, which PyTorch does not do")
        file.seek(entry.header_offset + LOCAL_HEADER - 4)
        begin = entry.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", file.read(4)))  # its name, extra fields
        places[name.removeprefix("data/")] = begin, entry.file_size
    return saved, places, ">" if big else "<"


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
    for key in map(str, _unpickled(file)):
        head = file.read(8)
        if len(head) < 8 or key not in kinds:
            raise DamagedError("it ends before its storages")
        (size,) = _sizes([struct.unpack("<q", head)[0] * kinds[key].bytes])
        places[key] = file.tell(), size
        file.seek(size, 1)
    return saved, places, "<" if machine.get("little_endian", True) else ">"


class _Reader:
    def __init__(self, whole: mmap.mmap, places: Places, order: Order) -> None:
        self._whole, self._places, self._order = whole, places, order

    def filled(self, saved: Mapping[Any, Any]) -> dict[Any, Any]:
        """The same with arrays in it."""
        return {key: self.array(value) if isinstance(value, _Tensor) else value for key, value in saved.items()}

    def array(self, tensor: _Tensor) -> NDArray[Any]:
        kind, storage = tensor.kind, tensor.storage
        begin, size = self._places.get(storage.key, (0, 0))
        narrow = np.dtype("u2" if kind.name == BFLOAT16 else kind.name).newbyteorder(self._order)
        if 0 in tensor.shape:
            return np.empty(tensor.shape, "f4" if kind.name == BFLOAT16 else narrow)
        if begin + size > len(self._whole):
            raise DamagedError(f"storage {storage.key} is not all there")
        first = tensor.offset + storage.first
        last = first + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if (last + 1) * narrow.itemsize > size:
            raise DamagedError(f"a tensor reaches beyond storage {storage.key}")
        flat = np.frombuffer(self._whole, narrow, size // narrow.itemsize, begin)
        steps = [step * narrow.itemsize for step in tensor.strides]
        values = np.lib.stride_tricks.as_strided(flat[first:], tensor.shape, steps, writeable=False)
        if kind.name == BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values
