"""Network: an ONNX graph with what it expects of its pictures, and names for its layers; loaded, saved and shown."""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from .errors import Error, one_of
from .graph import attributes, cut, dims, one_line, pictures
from .layers import Layers, discover
from .prepare import prepare
from .preprocess import PREPROCESS, Preprocess, fold, named
from .receptive import Field, Pair, fields
from .specialise import shapes, specialise

METADATA = "stylogram."
LOSSES = ("content", "style", "tv")
POOLINGS = {"max": "MaxPool", "avg": "AveragePool"}

PRECONDITION = 1.4  # what all networks that were tried gain by: docs/benchmarks.md, "Pairs of pictures"


@dataclass(frozen=True)
class Network:
    """A feature network.

    `model`: prepared, its own preprocessing not folded in. `provenance`: where it comes from, for people to read.
    `assumed_preprocess`: nothing said which preprocessing it needs, so that `preprocess` is a guess. `loss_weights`: of
    LOSSES, those that suit it where nobody chose any: Gram matrices of features that are seldom 0 are mostly mean, and
    a small relative difference means more there. `precondition`: how much further coarse structures of the picture
    should move than those of half the size, where neither its file nor anybody else chose; 1: no further.
    """

    name: str
    model: onnx.ModelProto
    preprocess: Preprocess
    layers: Layers
    provenance: Mapping[str, str] = field(default_factory=dict)
    assumed_preprocess: bool = False
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    precondition: float = PRECONDITION


def load(path: str | Path, preprocess: str | None = None) -> Network:
    """The network of an ONNX file, whoever made it.

    Preprocessing and layers come from its metadata; `preprocess` (a name) goes before that, and without either
    `imagenet` is assumed. Undeclared layers are found by the rule in layers.py. Raises Error, in one line: for a file
    that is missing, empty, cut off or no ONNX; for weights missing beside it; for inputs other than one (N,3,H,W) of
    float32; and for what `prepare` refuses.
    """
    chosen = None if preprocess is None else named(preprocess)
    path = Path(path)
    model = _read(path)
    try:
        _check_input(model)
        return _network(path.stem, prepare(model), chosen, {"file": path.name, "format": "onnx"})
    except Error as error:
        raise Error(f"{path}: {error}") from error


def _network(name: str, model: onnx.ModelProto, preprocess: Preprocess | None, provenance: dict[str, str]) -> Network:
    metadata = {entry.key.removeprefix(METADATA): entry.value for entry in model.metadata_props}
    declared = Preprocess.from_json(metadata["preprocess"]) if "preprocess" in metadata else None
    layers = Layers.from_json(metadata["layers"]).of(model) if "layers" in metadata else discover(model)
    own = _provenance(metadata.get("provenance", "{}"))
    known = preprocess or declared
    weights = _loss_weights(metadata.get("loss_weights", "{}"))
    growth = _precondition(metadata.get("precondition", str(PRECONDITION)))
    known_or_guess = known or PREPROCESS["imagenet"]
    return Network(name, model, known_or_guess, layers, {**own, **provenance}, known is None, weights, growth)


def _precondition(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 4:
        raise Error(f"precondition: a number from 1 to 4 is accepted, got {text[:80]!r}")
    return value


def _loss_weights(text: str) -> dict[str, float]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise Error(f"loss_weights: not JSON: {text[:80]!r} ({error})") from error
    if not isinstance(entries, dict) or not all(
        name in LOSSES and isinstance(value, int | float) and math.isfinite(value) and value >= 0
        for name, value in entries.items()
    ):
        raise Error(f"loss_weights: numbers >= 0 for {', '.join(LOSSES)} are accepted, got {text[:80]}")
    return {name: float(value) for name, value in entries.items()}


def _provenance(text: str) -> dict[str, str]:
    """What the file tells people about its origin; nothing depends on it."""
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise Error(f"provenance: not JSON: {text[:80]!r} ({error})") from error
    if not isinstance(entries, dict):
        raise Error(f"provenance: an object is needed, got {text[:80]}")
    return {str(key): str(value) for key, value in entries.items()}


def _read(path: Path) -> onnx.ModelProto:
    """The model with its external data. Raises Error for a file that is not one."""
    if path.is_dir():
        raise Error(f"{path} is a directory; an ONNX file is needed")
    try:
        if not path.stat().st_size:
            raise Error(f"{path} is empty; an ONNX file is needed")
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise Error(f"{path} is not an ONNX file, or it is cut off") from error
    if not model.graph.node or not model.opset_import:
        raise Error(f"{path} is not an ONNX file with a network in it: it has no nodes or no opset")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, onnx.checker.ValidationError, ValueError) as error:
        raise Error(f"{path}: its weights are in another file that cannot be read: {one_line(error)}") from error
    return model


def _check_input(model: onnx.ModelProto) -> None:
    """One picture (N,3,H,W) float32; prepare checks what holds for every graph."""
    found = pictures(model.graph)
    if len(found) != 1:
        return  # prepare says it
    shape, kind = dims(found[0]), found[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        what = onnx.TensorProto.DataType.Name(kind).lower()
        raise Error(f"input {found[0].name!r} must be float32 (N,3,H,W), got {what}")
    last = shape is not None and len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    if shape is not None and (len(shape) != 4 or shape[1] not in (3, None) or last):
        got = ",".join("?" if size is None else str(size) for size in shape)
        hint = ": channels last is not accepted" if last else ""
        raise Error(f"input {found[0].name!r} must be (N,3,H,W), got ({got}){hint}")


def save(network: Network, path: str | Path) -> None:
    """Write the network as an ordinary ONNX file, its preprocessing and layers in the metadata; atomically."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    _describe_in(
        model,
        preprocess=network.preprocess.to_json(),
        layers=network.layers.to_json(),
        provenance=json.dumps(dict(network.provenance)),
        **({"loss_weights": json.dumps(dict(network.loss_weights))} if network.loss_weights else {}),
        **({"precondition": f"{network.precondition:g}"} if network.precondition != PRECONDITION else {}),
    )
    with _written([Path(path)]) as (temporary,):
        temporary.write_bytes(model.SerializeToString())


def _describe_in(model: onnx.ModelProto, **entries: str) -> None:
    """Put `stylogram.<key>` = value into the metadata, in place of what was there."""
    kept = [(e.key, e.value) for e in model.metadata_props if e.key.removeprefix(METADATA) not in entries]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**dict(kept), **{METADATA + key: value for key, value in entries.items()}})


@contextmanager
def _written(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Temporary files beside `paths` that take their places when the block ends well, and vanish otherwise."""
    temporaries: list[Path] = []
    try:
        for path in paths:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            os.close(handle)
            temporaries.append(Path(name))
            os.chmod(name, 0o666 & ~_umask())
        yield temporaries
        for temporary, path in zip(temporaries, paths, strict=True):
            os.replace(temporary, path)
    except OSError as error:
        raise Error(f"cannot write {', '.join(map(str, paths))}: {error.strerror}") from error
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it; mkstemp's files are for their owner alone."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def folded(network: Network, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """The graph that takes RGB in [0,1] directly, cut at the tensors `outputs` if they are given."""
    return fold(network.model if outputs is None else cut(network.model, outputs), network.preprocess)


def with_pooling(network: Network, pooling: str) -> Network:
    """The network with its pools replaced: "avg" makes max-pools averages (Gatys et al. 2016), "max" the reverse.

    An average pool without a stride stays: it blurs, or it ends the network. Raises Error for an unknown pooling, and
    for a max-pool whose indices something reads.
    """
    if pooling not in POOLINGS:
        raise one_of("pooling", pooling, POOLINGS)
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    other = POOLINGS["max" if pooling == "avg" else "avg"]
    for node in model.graph.node:
        if node.op_type != other:
            continue
        given = attributes(node)
        if pooling == "avg" and len(node.output) > 1:
            raise Error(f"node {node.name!r}: a max-pool whose indices are read cannot become an average pool")
        if pooling == "avg" or max(given.get("strides", [1])) > 1:
            kept = {"kernel_shape", "strides", "pads", "auto_pad", "ceil_mode", "dilations"} & set(given)
            node.CopyFrom(
                onnx.helper.make_node(
                    POOLINGS[pooling], node.input, node.output, node.name, **{name: given[name] for name in kept}
                )
            )
            _pool_without_dilations(node)
    return replace(network, model=model, provenance={**network.provenance, "pooling": pooling})


def adapted(network: Network, preprocess: str | None = None, pooling: str | None = None) -> Network:
    """The network with another preprocessing (by name) or pooling than its own, where one is given."""
    if preprocess is not None:
        network = replace(network, preprocess=named(preprocess), assumed_preprocess=False)
    return with_pooling(network, pooling) if pooling else network


def _pool_without_dilations(node: onnx.NodeProto) -> None:
    """AveragePool has dilations only since opset 19; all 1 they mean nothing."""
    for attribute in [a for a in node.attribute if a.name == "dilations"]:
        if node.op_type == "AveragePool" and max(attribute.ints) > 1:
            raise Error(f"node {node.name!r}: a dilated max-pool cannot become an average pool")
        node.attribute.remove(attribute)


def describe(network: Network, shape: Sequence[int | None] = (1, 3, 224, 224)) -> list[dict[str, Any]]:
    """One row a layer, in depth order, for a picture of `shape`; after them default layers that have other names.

    Entries: layer, tensor, op, shape (N,C,h,w), stride (rows, columns) and field (rows, columns; None: the whole
    picture) in pixels, style, content and coarse (whether it is a default). Raises Error if the shape does not fit.
    """
    layers = network.layers
    defaults = {name: layers.tensor(name) for name in (*layers.style, *layers.content, *layers.coarse)}
    known_tensors = set(layers.names.values())
    names = {**layers.names, **{name: tensor for name, tensor in defaults.items() if tensor not in known_tensors}}
    part = specialise(cut(network.model, list(dict.fromkeys(names.values()))), shape)
    known, seen = shapes(part), fields(part)
    ops = {name: node.op_type for node in network.model.graph.node for name in node.output}
    kinds = {"style": layers.style, "content": layers.content, "coarse": layers.coarse}
    chosen = {kind: {layers.tensor(name) for name in named} for kind, named in kinds.items()}
    return [
        {
            "layer": layer,
            "tensor": tensor,
            "op": ops[tensor],
            "shape": known.get(tensor),
            **_positions(seen[tensor]),
            **{kind: tensor in tensors for kind, tensors in chosen.items()},
        }
        for layer, tensor in names.items()
    ]


def _positions(seen: Field) -> dict[str, tuple[float, ...] | None]:
    return {"stride": _neat(seen.stride), "field": _neat(seen.size)}


def _neat(pair: Pair | None) -> tuple[float, ...] | None:
    return None if pair is None else tuple(int(value) if value == int(value) else value for value in pair)


def export(
    network: Network,
    taps: Sequence[str],
    shape: Sequence[int | None],
    directory: str | Path,
    relu: str = "gradient",
    *,
    convolution: str = "direct",
    details: Mapping[str, str] | None = None,
) -> tuple[Path, Path]:
    """Write `forward.onnx` and `backward.onnx` for these layers and this shape into `directory`, for other programs.

    `relu`: the rule of differentiate(). Both take RGB in [0,1] (`stylogram.preprocess` says unit). `stylogram.taps`
    maps the layers to the forward outputs T, whose gradients backward takes as `gy:T`; `stylogram.saved` lists the
    tensors that go from one to the other; `stylogram.pair` is the same in both files and different in every other pair;
    `details` are written as `stylogram.<key>`. `convolution`: "winograd" puts the library's own op in, of which a
    closed shape is asked; "direct" is standard ONNX. The directory is made if its parent is there. Returns the two
    paths. Raises Error for a layer that is not there.
    """
    from .pairing import derivative_of, identity  # the rules are only needed here

    directory = Path(directory)
    chosen = {tap: network.layers.tensor(tap) for tap in taps}
    if not chosen:
        raise Error(f"export needs at least one layer; accepted: {', '.join(network.layers.names)}")
    if not directory.is_dir() and not directory.parent.is_dir():
        raise Error(f"cannot make the directory {directory}: {directory.parent} is not a directory")
    tensors = list(dict.fromkeys(chosen.values()))
    derivative = derivative_of(folded(network, tensors), tensors, tuple(shape), relu, convolution)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise Error(f"cannot make the directory {directory}: {error.strerror}") from error
    paths = (directory / "forward.onnx", directory / "backward.onnx")
    models = (derivative.forward, derivative.backward)
    for model in models:
        _describe_in(
            model,
            preprocess=PREPROCESS["unit"].to_json(),
            taps=json.dumps(chosen),
            saved=json.dumps(derivative.saved),
            relu=relu,
            **(details or {}),
        )
    pair = identity(models)
    with _written(paths) as temporaries:
        for model, temporary in zip(models, temporaries, strict=True):
            _describe_in(model, pair=pair)
            temporary.write_bytes(model.SerializeToString())
    return paths
