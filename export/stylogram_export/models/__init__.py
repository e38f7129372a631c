"""Forward graphs by name. Every module of this directory declares ARCHITECTURES; none of them is listed anywhere."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import Error, one_of
from ..layers import Layers
from ..network import POOLINGS, Network
from ..preprocess import PREPROCESS, Preprocess

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Architecture:
    """A family member: how to build its graph, and what to assume of it.

    `build(tensors, pooling)` takes the weights by their names and "max" or "avg"; `initial(seed)` makes random ones;
    `layers` names the activations and says which are the defaults. `matches(tensors)`: whether weights from a
    file are this architecture's, judged by their names; None: no file holds it. `pooling` is the architecture's own.
    """

    name: str
    summary: str
    build: Callable[[Tensors, str], onnx.ModelProto]
    initial: Callable[[int], dict[str, NDArray[np.float32]]]
    layers: Layers
    matches: Callable[[Tensors], bool] | None
    pooling: str = "max"
    preprocess: str = "imagenet"


@cache
def architectures() -> dict[str, Architecture]:
    """Every architecture there is, by name. A name that two modules declare is an error."""
    found: dict[str, Architecture] = {}
    for info in pkgutil.iter_modules(__path__):
        for architecture in importlib.import_module(f"{__name__}.{info.name}").ARCHITECTURES:
            if architecture.name in found:
                raise RuntimeError(f"architecture {architecture.name!r} is declared twice")
            found[architecture.name] = architecture
    return found


def architecture(name: str) -> Architecture:
    """The architecture of that name; Error lists those there are."""
    table = architectures()
    if name not in table:
        raise one_of("architecture", name, table)
    return table[name]


def build(name: str, weights: Tensors | None = None, pooling: str | None = None, seed: int = 0) -> onnx.ModelProto:
    """The forward graph of architecture `name`, opset 18: input (N,3,H,W), H and W open.

    `weights`: float32 tensors by name ("conv1_1.weight" (O,I,H,W), "conv1_1.bias" (O)); None makes random ones from
    `seed`. `pooling`: "max", "avg", or None for the architecture's own. Raises Error for an unknown name or pooling,
    and for weights that are not this architecture's.
    """
    chosen = architecture(name)
    pooling = pooling or chosen.pooling
    if pooling not in POOLINGS:
        raise one_of("pooling", pooling, POOLINGS)
    return chosen.build(chosen.initial(seed) if weights is None else weights, pooling)


def recognise(weights: Tensors) -> str:
    """The architecture whose weights these are, by their names; Error lists what there is."""
    in_files = {name: found.matches for name, found in architectures().items() if found.matches is not None}
    for name, matches in in_files.items():
        if matches(weights):
            return name
    got = ", ".join([*list(weights)[:6], *["..."][: len(weights) > 6]]) or "none"
    raise Error(f"weights of no known architecture: got {got}; accepted: {', '.join(in_files)}")


def network(
    name: str,
    weights: Tensors | None = None,
    pooling: str | None = None,
    seed: int = 0,
    preprocess: Preprocess | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Network:
    """The Network around build(name, weights, pooling, seed); `preprocess` None is the architecture's own."""
    chosen = architecture(name)
    model = build(name, weights, pooling, seed)
    facts = {"architecture": name, "pooling": pooling or chosen.pooling, **(provenance or {})}
    if weights is None:
        facts["weights"] = f"random, seed {seed}"
    return Network(name, model, preprocess or PREPROCESS[chosen.preprocess], chosen.layers.of(model), facts)
