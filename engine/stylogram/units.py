"""Units: what of a network is maximised or explained: channels, neurons, directions and classes, by number or name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator
from stylogram_export.graph import cut, dims, pictures
from stylogram_export.network import METADATA, Network
from stylogram_export.specialise import shapes, specialise

from .errors import Error, one_of
from .session import Array

SIDE = 224  # of the pictures that most networks were trained on
MOST = 4096  # units in one call
_FLATTENED = ("Flatten", "Reshape", "Squeeze")
_AVERAGED = ("GlobalAveragePool", "AveragePool", "ReduceMean")
_PASSED = ("Softmax", "LogSoftmax")  # what makes probabilities of the classes' scores


def _parse_units(value: Any) -> Any:
    """`1,2,5-9` -> (1, 2, 5, 6, 7, 8, 9). An int or a sequence of ints is taken as well, and None as it is."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return (int(value),)
    if not isinstance(value, str):
        return value
    units: list[int] = []
    for part in value.split(","):
        first, dash, last = part.partition("-")
        low = _number(first, value)
        high = _number(last, value) if dash else low
        if high < low or len(units) + high - low >= MOST:
            raise Error(f"a range goes up, and {MOST} are accepted in all; got {part.strip()!r}")
        units += range(low, high + 1)
    if len(set(units)) < len(units):
        raise Error(f"one is named twice in {value!r}")
    return tuple(units)


def _number(text: str, whole: str) -> int:
    if not text.strip().isdecimal():
        raise Error(f"numbers joined by commas, and ranges as 5-9, are accepted, got {whole!r}")
    return int(text)


def parse_classes(value: Any) -> Any:
    """`954`, `banana` or 954 -> a tuple of one; `1,2,3` or a sequence -> of several; None is taken as it is.

    Only numbers are joined by commas: there are commas in names.
    """
    if value is None or isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and "," in value and all(part.strip().isdecimal() for part in value.split(",")):
        return tuple(int(part) for part in value.split(","))
    return (value,)


Units = Annotated[tuple[int, ...], BeforeValidator(_parse_units)]
Classes = Annotated[tuple[int | str, ...], BeforeValidator(parse_classes)]


def native_size(network: Network) -> tuple[int, int] | None:
    """(height, width) of the pictures that the file declares, None where it leaves them open."""
    declared = dims(pictures(network.model.graph)[0]) or (None,) * 4
    height, width = declared[2:]
    return None if height is None or width is None else (height, width)


def shape_of(network: Network, tensor: str, size: tuple[int, int] | None = None) -> tuple[int, ...]:
    """The shape of a tensor for one picture of `size` (height, width), the network's own or SIDE if not given."""
    height, width = size or native_size(network) or (SIDE, SIDE)
    found = shapes(specialise(cut(network.model, [tensor]), (1, 3, height, width))).get(tensor)
    if found is None or None in found:
        raise Error(f"{network.name}: the shape of {tensor!r} does not follow from the picture's: {found}")
    return tuple(size or 0 for size in found)


def together(network: Network, tensor: str, size: tuple[int, int], most: int) -> int:
    """How many pictures of `size` (height, width) go through the network at once: `most`, or 1 where a file says so."""
    try:
        specialise(cut(network.model, [tensor]), (most, 3, *size))
    except Error:
        return 1
    return most


@dataclass(frozen=True)
class Logits:
    """The scores of a network's classes before any softmax: a tensor (N,count) or (N,count,1,1), and their names.

    `map`: the tensor (N,count,h,w) that they are the means of, where the network ends in one (SqueezeNet).
    """

    tensor: str
    count: int
    names: tuple[str, ...] = ()
    map: str | None = None

    @classmethod
    def of(cls, network: Network, names: str | Path | None = None) -> "Logits":
        """Those of `network`; `names`: a file, else the metadata's. Raises Error for a network without classes."""
        tensor = _scores(network)
        shape = shape_of(network, tensor)
        positions = int(np.prod(shape[2:], dtype=np.int64))
        if len(shape) < 2 or positions != 1 or shape[1] < 2:
            got = ",".join(map(str, shape))
            raise Error(
                f"{network.name} has no class scores: its output {tensor!r} is ({got}); a network whose output is "
                "(N,classes) is accepted"
            )
        return cls(tensor, shape[1], class_names(network, names, shape[1]), _map(network, tensor, shape[1]))

    def index(self, wanted: int | str) -> int:
        """The number of a class from itself or from its name, or from one of the names that a comma joins."""
        text = str(wanted).strip()
        if isinstance(wanted, int) or text.isdigit():
            if int(wanted) >= self.count or int(wanted) < 0:
                raise Error(f"class: a number from 0 to {self.count - 1} or a name is accepted, got {wanted}")
            return int(wanted)
        if not self.names:
            raise Error(
                f"class: a number from 0 to {self.count - 1} is accepted, got {text!r}: the network names no classes "
                "(--classes FILE gives names)"
            )
        return self._named(text)

    def _named(self, text: str) -> int:
        spellings: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            for spelling in dict.fromkeys(part.strip().lower() for part in (name, *name.split(","))):
                spellings.setdefault(spelling, []).append(number)
        found = spellings.get(text.lower(), [])
        if len(found) > 1:
            choices = ", ".join(f"{number} ({self.names[number]})" for number in found)
            raise Error(f"class {text!r} is the name of several; one of their numbers is accepted: {choices}")
        if not found:
            raise one_of("class", text.lower(), spellings, most=12)
        return found[0]

    def label(self, index: int) -> str:
        """`954 banana`, or the number alone."""
        name = self.names[index].split(",")[0] if self.names else ""
        return f"{index} {name}".strip()


def _scores(network: Network) -> str:
    """The deepest output that is no layer, before the softmax if it ends in one.

    Layers may be outputs too, and come after the classes: seednet's whitened ones do.
    """
    graph = network.model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    order = {name: number for number, node in enumerate(graph.node) for name in node.output}
    outputs = [value.name for value in graph.output if value.name in order]
    layers = {*network.layers.names.values(), *network.layers.also.values()}
    tensor = max([name for name in outputs if name not in layers] or outputs, key=lambda name: order[name])
    while makers[tensor].op_type in _PASSED and makers[tensor].input[0] in makers:
        tensor = makers[tensor].input[0]
    return str(tensor)


def _map(network: Network, tensor: str, count: int) -> str | None:
    """The tensor (N,count,h,w) that the scores are the means of, through nothing but reshaping."""
    makers = {name: node for node in network.model.graph.node for name in node.output if name}
    while tensor in makers and makers[tensor].op_type in _FLATTENED:
        tensor = makers[tensor].input[0]
    if tensor not in makers or makers[tensor].op_type not in _AVERAGED:
        return None
    tensor = str(makers[tensor].input[0])
    shape = shape_of(network, tensor) if tensor in makers else ()
    return tensor if len(shape) == 4 and shape[1] == count and np.prod(shape[2:]) > 1 else None


def class_names(network: Network, path: str | Path | None, count: int) -> tuple[str, ...]:
    """The names of `count` classes from a file, else from the metadata `stylogram.classes`, else none.

    The file has a name a line, or is JSON: a list of names, or Keras' object {"0": [id, name]}. Raises Error for
    another number of names.
    """
    if path is not None:
        names, source = _names_in_file(Path(path)), str(path)
    else:
        entries = {entry.key: entry.value for entry in network.model.metadata_props}
        text = entries.get(METADATA + "classes")
        if text is None:
            return ()
        names, source = _names_in_json(text, network.name), f"{network.name}'s metadata"
    if len(names) != count:
        raise Error(f"{source}: {count} names of classes are needed, one for each score, got {len(names)}")
    return tuple(names)


def _names_in_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no UTF-8 text"
        raise Error(f"classes: {path} cannot be read: {reason}; a name a line, or JSON, is accepted") from None
    if text.lstrip()[:1] in ("[", "{"):
        return _names_in_json(text, str(path))
    return [line.strip() for line in text.rstrip().splitlines()]


def _names_in_json(text: str, source: str) -> list[str]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as problem:
        raise Error(f"{source}: the names of the classes are no JSON: {problem}") from None
    if isinstance(entries, dict) and all(str(number) in entries for number in range(len(entries))):
        listed = [entries[str(number)] for number in range(len(entries))]
        entries = [entry[-1] if isinstance(entry, list) and entry else entry for entry in listed]
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise Error(f'{source}: the names of the classes must be a JSON list of strings, or {{"0": [id, name], ...}}')
    return entries


def check_units(units: Sequence[int], channels: int, layer: str, what: str = "unit") -> None:
    """Raises Error for a unit that the layer does not have."""
    for unit in units:
        if not 0 <= unit < channels:
            raise Error(f"{what}: layer {layer} has {what}s from 0 to {channels - 1}, got {unit}")


def direction(given: Any, channels: int, layer: str) -> Array:
    """A direction among the channels (C), scaled to length 1: an array, a .npy file, or `3=1,7=-0.5`, the others 0."""
    if isinstance(given, str | Path):
        text = str(given)
        vector = _sparse(text, channels, layer) if "=" in text else _stored(Path(text))
    else:
        vector = np.asarray(given)
    if vector.shape != (channels,) or not np.issubdtype(vector.dtype, np.number) or np.iscomplexobj(vector):
        raise Error(
            f"direction: a vector of {channels} numbers is needed for layer {layer}, got one of shape {vector.shape}, "
            f"{vector.dtype}"
        )
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length) or not length:
        raise Error("direction: finite numbers, not all of them 0, are accepted")
    return np.asarray(vector / length, np.float32)


def _sparse(text: str, channels: int, layer: str) -> Array:
    vector = np.zeros(channels, np.float32)
    for part in text.split(","):
        unit, _, weight = part.partition("=")
        if not unit.strip().isdigit():
            raise Error(f"direction: K=weight joined by commas, or a .npy file, is accepted, got {text!r}")
        check_units([int(unit)], channels, layer)
        try:
            vector[int(unit)] = float(weight)
        except ValueError:
            raise Error(f"direction: the weight of unit {unit} must be a number, got {weight!r}") from None
    return vector


def _stored(path: Path) -> np.ndarray[Any, Any]:
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no .npy file of numbers"
        raise Error(f"direction: {path} cannot be read: {reason}; a .npy file, or K=weight, is accepted") from None
    if not isinstance(stored, np.ndarray):
        raise Error(f"direction: {path} holds several arrays; a .npy file of one vector is accepted")
    return stored
