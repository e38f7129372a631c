"""Large constants beside a graph, so that what rewrites the graph need not copy them.

A graph is rewritten by making another, and protobuf copies all that a message holds: on the way to a GPU's sessions
VGG-19's weights would be copied twenty times, and that would be most of the time before the first iteration. `thinned`
leaves their types and shapes in the graph; the numbers are with a `Beside`, which has to be entered (`with`) wherever
someone may ask for them. What is computed of them begins at once, in threads, and is computed once.
"""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, Token
from functools import cache, partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

Array = NDArray[Any]
LARGE = 1024  # elements; constants of more lie beside
KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
PLACE = "beside:"  # what a tensor's key begins with, in the place of an external file's name
_current: ContextVar["Beside"] = ContextVar("beside")


class Beside:
    """The numbers of constants by a key, which the graphs hold. `numbers`, `rearranged`, `mapped`: as the functions."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._numbers: dict[str, Callable[[], Array]] = {}
        self._rearranged: dict[str, tuple[TensorProto, Callable[[Array], Array]]] = {}
        self._mapped: dict[tuple[str, Any], str] = {}
        self._tokens: list[Token[Beside]] = []
        self._threads = ThreadPoolExecutor(os.cpu_count(), "beside")

    def __enter__(self) -> "Beside":
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())

    def __len__(self) -> int:
        return len(self._numbers)

    def clear(self) -> None:
        """Let go of everything: what sessions were given is theirs."""
        for kept in (self._numbers, self._rearranged, self._mapped):
            kept.clear()

    def thinned(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the model without its large constants' numbers, which are taken out of `model` when asked for."""
        thin = onnx.ModelProto()
        for field, value in model.ListFields():
            if field.name != "graph":
                _copy(thin, field.name, value)
        for field, value in model.graph.ListFields():
            if field.name != "initializer":
                _copy(thin.graph, field.name, value)
        thin.graph.initializer.extend(self._put(tensor) if _is_large(tensor) else tensor for tensor in
                                      model.graph.initializer)  # fmt: skip
        return thin

    def _put(self, tensor: TensorProto) -> TensorProto:
        numbers = cache(partial(numpy_helper.to_array, tensor))
        return _stand_in(self._key(numbers), tensor.name, tensor.data_type, tensor.dims)

    def _key(self, numbers: Callable[[], Array]) -> str:
        key = f"{PLACE}{next(self._count)}"
        self._numbers[key] = numbers
        return key

    def numbers(self, key: str) -> Array:
        return self._numbers[key]()

    def rearranged(self, tensor: TensorProto, how: Callable[[Array], Array], name: str) -> TensorProto:
        source = self._numbers[_key_of(tensor)]
        key = self._key(lambda: how(source()))
        self._rearranged[key] = tensor, how
        shape = how(np.broadcast_to(np.int8(0), tensor.dims)).shape
        return _stand_in(key, name, tensor.data_type, shape)

    def mapped(
        self, tensor: TensorProto, work: Callable[[Array], Array], what: object, kind: int, name: str
    ) -> TensorProto:
        key = _key_of(tensor)
        if key in self._rearranged:  # its numbers are those of another, of which the same may be asked
            source, how = self._rearranged[key]
            return self.rearranged(self.mapped(source, work, what, kind, name), how, name)
        if (key, what) not in self._mapped:
            of = self._numbers[key]
            made = self._threads.submit(lambda: work(of()))
            self._mapped[key, what] = self._key(made.result)
        return _stand_in(self._mapped[key, what], name, kind, tensor.dims)

    def rows(self, tensors: Sequence[TensorProto]) -> list[Array]:
        """The numbers of constants, each in a row."""
        return list(self._threads.map(lambda tensor: np.ascontiguousarray(self.numbers(_key_of(tensor))), tensors))


def current() -> Beside:
    """The one that is entered, else one to enter."""
    entered = _current.get(None)
    return Beside() if entered is None else entered


def numbers(tensor: TensorProto) -> Array:
    """A constant's values, wherever they are; of bfloat16 that lies beside, its bits."""
    key = _key_of(tensor)
    return _current.get().numbers(key) if key else np.asarray(numpy_helper.to_array(tensor))


def rearranged(tensor: TensorProto, how: Callable[[Array], Array], name: str) -> TensorProto:
    """A constant with its values in another order and shape."""
    if _key_of(tensor):
        return _current.get().rearranged(tensor, how, name)
    return in_graph(how(numbers(tensor)), tensor.data_type, name)


def is_beside(tensor: TensorProto) -> bool:
    """Whether the constant's values are not in the graph."""
    return bool(_key_of(tensor))


def mapped(tensor: TensorProto, work: Callable[[Array], Array], what: object, kind: int, name: str) -> TensorProto:
    """`work` done on each of a constant's values, giving ONNX's type `kind`. The same work is the same `what`."""
    if _key_of(tensor):
        return _current.get().mapped(tensor, work, what, kind, name)
    return in_graph(work(numbers(tensor)), kind, name)


def given(model: onnx.ModelProto) -> dict[str, tuple[Array, int]]:
    """What a session of the model has to be given beside it: numbers by name, with ONNX's number of their type."""
    read = {name for node in model.graph.node for name in node.input}  # ONNX Runtime knows no others
    tensors = [tensor for tensor in model.graph.initializer if _key_of(tensor) and tensor.name in read]
    found = _current.get().rows(tensors) if tensors else []
    return {tensor.name: (array, tensor.data_type) for tensor, array in zip(tensors, found, strict=True)}


def filled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all its constants in it, as a file has them."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for tensor in whole.graph.initializer:
        if _key_of(tensor):
            tensor.CopyFrom(in_graph(numbers(tensor), tensor.data_type, tensor.name))
    return whole


def in_graph(values: Array, kind: int, name: str) -> TensorProto:
    """A tensor that holds the values, of bfloat16 the bits."""
    return onnx.helper.make_tensor(name, kind, values.shape, np.ascontiguousarray(values).tobytes(), raw=True)


def _is_large(tensor: TensorProto) -> bool:
    return tensor.data_type in KINDS and not _key_of(tensor) and math.prod(tensor.dims) > LARGE


def _key_of(tensor: TensorProto) -> str:
    """The constant's key; "" if its values are in the graph."""
    place = tensor.external_data[0].value if tensor.external_data else ""
    return place if place.startswith(PLACE) else ""


def _stand_in(key: str, name: str, kind: int, shape: Any) -> TensorProto:
    made = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=key)
    return made


def _copy(into: Any, name: str, value: Any) -> None:
    if isinstance(value, int | str | bytes):
        setattr(into, name, value)
    else:
        getattr(into, name).extend(value)
