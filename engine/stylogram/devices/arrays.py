"""Arrays on a GPU, and the stream that all work on them goes through."""

import gc
import math
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .library import failing

Host = NDArray[Any]


class Queue:
    """A stream of one GPU. What is put into it is done in order; nothing waits for it but download() and wait()."""

    @failing("making a queue on the GPU")
    def __init__(self, index: int = 0) -> None:
        self.index = index
        _core.cuda_use(index)
        self.handle: int = _core.cuda_stream()
        self._free = weakref.finalize(self, _core.cuda_free_stream, self.handle)

    def wait(self) -> None:
        """Until all that was put in is done."""
        _core.cuda_wait(self.handle)

    def empty(self, shape: Sequence[int], kind: Any = np.float32) -> "DeviceArray":
        """Memory with undefined contents."""
        return DeviceArray(self, tuple(shape), np.dtype(kind), _Block(self.index, shape, np.dtype(kind).itemsize))

    def zeros(self, shape: Sequence[int], kind: Any = np.float32) -> "DeviceArray":
        made = self.empty(shape, kind)
        made.clear()
        return made

    def upload(self, values: Host) -> "DeviceArray":
        """A copy of `values` on the GPU."""
        made = self.empty(values.shape, values.dtype)
        made.upload(values)
        return made

    @contextmanager
    def capture(self, into: "list[Graph]") -> Iterator[None]:
        """What is put in meanwhile is not done but kept: a Graph, appended to `into`, does it as often as it is run.

        Nothing is collected as garbage meanwhile: memory on the GPU that is freed would end the capture.
        """
        collects = gc.isenabled()
        gc.disable()
        _core.cuda_begin_capture(self.handle)
        try:
            yield
        except BaseException:
            _core.cuda_free_graph(_core.cuda_end_capture(self.handle))
            raise
        finally:
            if collects:
                gc.enable()
        into.append(Graph(self, _core.cuda_end_capture(self.handle)))


class Graph:
    """Captured work: one call in place of many."""

    def __init__(self, queue: Queue, handle: int) -> None:
        self._queue, self._handle = queue, handle
        self._free = weakref.finalize(self, _core.cuda_free_graph, handle)

    def run(self) -> None:
        _core.cuda_run_graph(self._handle, self._queue.handle)


class _Block:
    """The memory itself, freed when no array is left of it."""

    @failing("making an array on the GPU")
    def __init__(self, index: int, shape: Sequence[int], size: int) -> None:
        _core.cuda_use(index)
        self.bytes = math.prod(shape) * size
        self.address: int = _core.cuda_allocate(self.bytes)
        self._free = weakref.finalize(self, _core.cuda_free, self.address)


class DeviceArray:
    """Numbers on a GPU in row order: shape, views along the first axis, copies to and from the host, exchange.

    Other programs take it without a copy by `__cuda_array_interface__` (CuPy, Numba, PyTorch) or DLPack.
    """

    def __init__(
        self, queue: Queue, shape: tuple[int, ...], kind: np.dtype[Any], block: _Block, offset: int = 0
    ) -> None:
        self.queue, self.shape, self.dtype = queue, shape, kind
        self._block, self._offset = block, offset

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def address(self) -> int:
        return self._block.address + self._offset

    def reshape(self, *shape: Any) -> "DeviceArray":
        """A view of another shape; one size may be -1."""
        wanted = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else list(shape)
        if -1 in wanted:
            known = math.prod(size for size in wanted if size != -1)
            wanted[wanted.index(-1)] = self.size // max(known, 1)
        if math.prod(wanted) != self.size:
            raise ValueError(f"a GPU array of shape {self.shape} cannot be reshaped to {tuple(wanted)}")
        return DeviceArray(self.queue, tuple(wanted), self.dtype, self._block, self._offset)

    def __getitem__(self, at: int | slice) -> "DeviceArray":
        """A view of one or of neighbouring entries along the first axis."""
        step = math.prod(self.shape[1:]) * self.dtype.itemsize
        if isinstance(at, slice):
            first, last, stride = at.indices(self.shape[0])
            if stride != 1:
                raise IndexError("a GPU array is cut into neighbouring entries, without a step")
            shape: tuple[int, ...] = (max(last - first, 0), *self.shape[1:])
        else:
            first, shape = range(self.shape[0])[at], self.shape[1:]
        return DeviceArray(self.queue, shape, self.dtype, self._block, self._offset + first * step)

    def clear(self) -> None:
        _core.cuda_clear(self.address, self.nbytes, self.queue.handle)

    @failing("copying to the GPU")
    def upload(self, values: Host) -> None:
        """Copy `values`, of this shape and type, here."""
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ValueError(f"{self.dtype} of shape {self.shape} is accepted, got {values.dtype} of {values.shape}")
        values = np.ascontiguousarray(values)
        _core.cuda_copy(self.address, values.ctypes.data, self.nbytes, self.queue.handle)
        self.queue.wait()  # the values may be changed or freed by whoever owns them

    def copy_from(self, other: "DeviceArray") -> None:
        """Copy another GPU array of the same size and type here."""
        if (other.size, other.dtype) != (self.size, self.dtype):
            raise ValueError(f"{self.size} of {self.dtype} are accepted, got {other.size} of {other.dtype}")
        _core.cuda_copy(self.address, other.address, self.nbytes, self.queue.handle)

    @failing("copying from the GPU")
    def download(self) -> Host:
        """A copy on the host, after all work put in so far."""
        made = np.empty(self.shape, self.dtype)
        _core.cuda_copy(made.ctypes.data, self.address, self.nbytes, self.queue.handle)
        self.queue.wait()
        return made

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": self.queue.handle or 1,
            "version": 3,
        }

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """A DLPack capsule (unversioned) for PyTorch, CuPy or JAX; their stream sees the work put in so far."""
        self.queue.wait()
        return _core.cuda_dlpack(self, self.address, self.shape, self.dtype.kind, self.dtype.itemsize, self.queue.index)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.queue.index  # kDLCUDA
