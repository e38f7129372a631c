"""The options that every picture-making task shares, checked by pydantic, and how a bad one is said in one line.

A task's options are one model; the command line and the Python function are both made from it, so that they cannot
differ. A field's title is what the command line's help shows as its value.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from stylogram_export.network import Network

from .errors import Error, one_of
from .optimise import OPTIMISERS
from .session import check_device

Model = TypeVar("Model", bound=BaseModel)


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise Error(f"a list joined by commas must have no empty part, got {value!r}")
    return parts


def _layer_weights(value: Any) -> Any:
    """`conv1_1=2,conv2_1` -> {"conv1_1": 2.0, "conv2_1": 1.0}; a sequence of names or a mapping is taken as well."""
    if value is None:
        return None
    if (
        not value
        or not isinstance(value, str | dict | list | tuple)
        or not all(isinstance(part, str) for part in value)
    ):
        raise Error(f"names joined by commas are accepted, or a list or a mapping of them; got {value!r}")
    if isinstance(value, dict):
        return value
    weights: dict[str, float] = {}
    for part in _split(value):
        name, given, weight = (word.strip() for word in part.partition("="))
        if name in weights:
            raise Error(f"layer {name!r} is named twice")
        try:
            weights[name] = float(weight) if given else 1.0
        except ValueError:
            raise Error(f"the weight of layer {name!r} must be a number, got {weight!r}") from None
    return weights


def _optimizer(value: Any) -> str:
    if not isinstance(value, str) or value not in OPTIMISERS:
        raise one_of("optimizer", str(value), OPTIMISERS)
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Numbers = Annotated[tuple[Weight, ...], BeforeValidator(_split)]
LayerWeights = Annotated[dict[str, Weight], BeforeValidator(_layer_weights)]


class NetworkOptions(BaseModel):
    """Which network, on what, how large."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    network: str | Path | Network = Field(
        "seednet",
        title="NAME|FILE",
        description="a name (`stylogram network list`) or a file: .onnx, .pth, .safetensors, .mat, .h5",
    )
    preprocess: str | None = Field(
        None, title="NAME", description="imagenet, caffe or unit; the network's own if not given"
    )
    pooling: Literal["max", "avg"] | None = Field(None, description="the pooling of a network built from weights")
    device: Annotated[str, BeforeValidator(check_device)] = Field("cpu", title="NAME", description="where it runs: cpu")
    threads: int = Field(0, ge=0, le=4096, title="N", description="processors to use, by this call alone; 0: all")
    convolution: Literal["auto", "direct", "winograd"] | None = Field(
        None, description="the 3x3 convolutions; STYLOGRAM_CONVOLUTION in the environment, or auto, if not given"
    )
    size: int | None = Field(None, ge=16, le=65536, title="PIXELS", description="long side of the picture, in pixels")
    seed: int = Field(0, ge=0, title="N", description="of everything random: the same seed gives the same picture")


class RunOptions(NetworkOptions):
    """Beside that, how long and by which optimiser."""

    iterations: int | None = Field(None, ge=1, title="N", description="iterations at each scale")
    optimizer: Annotated[str, BeforeValidator(_optimizer)] | None = Field(
        None, title="NAME", description=", ".join(OPTIMISERS)
    )
    learning_rate: Positive | None = Field(None, title="X", description="the optimiser's own if not given")
    history: int | None = Field(None, ge=1, le=1000, title="N", description="curvature pairs that L-BFGS keeps")
    history_precision: Literal["float32", "float16"] | None = Field(
        None, description="numbers of those pairs; float16, half the memory, is what 16-bit networks on a GPU take"
    )
    tolerance: Weight = Field(
        0.0, title="X", description="stop when 20 iterations lower the loss by less than this part; 0: never"
    )

    def of_optimiser(self) -> dict[str, Any]:
        """Those of optimise.Settings that are given."""
        given = {
            "name": self.optimizer,
            "learning_rate": self.learning_rate,
            "history": self.history,
            "history_precision": self.history_precision,
        }
        return {name: value for name, value in given.items() if value is not None}


def check_path(name: str, value: Any) -> None:
    """Raises Error for what is neither text nor a path."""
    if not isinstance(value, str | os.PathLike):
        raise Error(f"{name}: should be a path, got {named(value)}")


def check_callback(callback: Any, of: str = "Progress") -> None:
    """Raises Error for what cannot be called."""
    if callback is not None and not callable(callback):
        raise Error(f"callback: a function of one {of} is accepted, got {named(callback)}")


def checked(model: type[Model], given: dict[str, Any]) -> Model:
    """`model(**given)`; the first thing wrong becomes an Error of one line with the name, what was got and accepted."""
    for name in given:
        if name not in model.model_fields:
            raise one_of("option", name, model.model_fields)
    try:
        return model(**given)
    except ValidationError as error:
        raise _explained(error, model) from error


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The accepted words of a field that is a choice; none for others."""
    for part in (field.annotation, *get_args(field.annotation)):
        if get_origin(part) is Literal:
            return tuple(map(str, get_args(part)))
    return ()


def _explained(error: ValidationError, model: type[BaseModel]) -> Error:
    first, *others = error.errors()
    cause = first.get("ctx", {}).get("error")
    name = str(first["loc"][0]).rstrip("_").replace("_", "-") if first["loc"] else "options"
    got = first["input"]
    if isinstance(cause, Error):
        return cause if not first["loc"] or str(cause).startswith(f"unknown {name} ") else Error(f"{name}: {cause}")
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return Error(f"{name}: it is needed, got none")
    if first["type"] == "literal_error" and len(first["loc"]) == 1:
        return one_of(name, str(got), choices(model.model_fields[str(first["loc"][0])]))
    # What is none of several types is an error of each, of another kind and the type's name behind the place.
    same = [first, *(other for other in others if _alternative(other, first))]
    place = first["loc"][1 : None if len(same) == 1 else -1]
    where = ", ".join(f"number {part + 1}" if isinstance(part, int) else str(part) for part in place)
    reasons = list(dict.fromkeys(map(_reason, same)))
    reason = " or ".join([reasons[0], *(other.removeprefix("should be ") for other in reasons[1:])])
    return Error(f"{name}{f' ({where})' if where else ''}: {reason}, got {named(got)}")


def named(value: Any) -> str:
    """What was got, in one line: text and numbers as they are, an array by its shape."""
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else " ".join(repr(value).split())[:300]


def _alternative(other: Any, first: Any) -> bool:
    return bool(
        other["input"] is first["input"] and other["type"] != first["type"] and other["loc"][:1] == first["loc"][:1]
    )


def _reason(error: Any) -> str:
    if error["type"] == "path_type":  # pydantic names the class
        return "should be a path"
    return str(error["msg"]).removeprefix("Input ").removeprefix("Value error, ")
