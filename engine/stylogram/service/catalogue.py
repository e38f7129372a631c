"""What the service offers: every task that makes a picture, its pictures and its options, from the tasks themselves.

An option that holds a path is not offered, so that no text of a client is ever opened as a file: pictures are uploads,
networks are names that the operator chose. A new task is offered by itself; its paths are not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from stylogram_export.network import Network

from .. import tasks, zoo
from ..errors import Error, one_of
from ..options import checked, choices
from ..recipes import PRESETS
from . import work
from .settings import Settings

#: options that are pictures, where a task has them: uploads of the same name
PICTURES = ("init", "guide", "style")
MASKS = ("content_mask", "style_mask")
MOST_PICTURES = 16  # of one field
#: the server's own business, and what writes files beside the picture
WITHHELD = ("threads", "device", "precision", "zoom_frames", "zoom", "fps")
#: options by which jobs that are painted together may differ
APART = (
    "content_weight", "style_weight", "tv_weight", "style_loss", "style_blend", "style_scale", "keep_colors", "init",
    "init_noise", "mask", "seed", "threads",
)  # fmt: skip
FORMATS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
TOGETHER = "stylize"  # the task whose jobs are painted together
Shape = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """A field of pictures: whether it must be there, and whether several are taken."""

    required: bool
    several: bool


@dataclass(frozen=True)
class Offer:
    """One task as the service has it."""

    name: str
    help: str
    module: ModuleType
    inputs: Mapping[str, Input]
    options: Mapping[str, FieldInfo]

    @property
    def model(self) -> type[BaseModel]:
        """The task's options, all of them."""
        model: type[BaseModel] = self.module.Options
        return model


@cache
def offers() -> dict[str, Offer]:
    """The tasks by name, `stylize` first."""
    made = [_offer(name, module) for name in tasks.names() if not getattr(module := tasks.load(name), "REPORT", False)]
    return {offer.name: offer for offer in sorted(made, key=lambda offer: offer.name != TOGETHER)}


def _offer(name: str, module: ModuleType) -> Offer:
    fields: Mapping[str, FieldInfo] = module.Options.model_fields
    inputs = {field: Input(True, many) for field, many in module.ARGUMENTS.items()}
    inputs |= {field: Input(False, False) for field in PICTURES if field in fields and field not in inputs}
    if "mask" in fields:
        inputs |= {field: Input(False, True) for field in MASKS}
    options = {
        field: info
        for field, info in fields.items()
        if field not in WITHHELD and (field in ("network", "init") or not holds_path(info.annotation))
    }
    summary = (module.__doc__ or "").partition("\n\n")[0].partition(": ")[2]
    return Offer(name, " ".join(summary.split()), module, inputs, options)


def holds_path(annotation: Any) -> bool:
    """Whether a type has a path, an array or a network somewhere in it."""
    return annotation in (Path, Network, np.ndarray) or any(holds_path(part) for part in get_args(annotation))


def schema(name: str, field: FieldInfo) -> dict[str, Any]:
    """The JSON schema of an option, as far as its type has one."""
    if name == "init":
        made: dict[str, Any] = {"type": "string", "enum": ["content", "random"]}
    elif name == "network":
        made = {"type": "string"}
    else:
        try:
            made = TypeAdapter[Any](field.annotation or str).json_schema()
        except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
            made = {"type": "string"}
        if words := choices(field):
            made = {"type": "string", "enum": list(words)}
    return {**made, "description": field.description or ""}


def network_files(settings: Settings) -> dict[str, str]:
    """What a name of a network stands for: the built-in ones, those that were fetched, and the operator's files."""
    found = {name: name for name in zoo.names() if name not in zoo.ENTRIES or zoo.cached(name)}
    if settings.networks is not None:
        if not settings.networks.is_dir():
            raise Error(f"networks: {settings.networks} is no directory; a directory of network files is accepted")
        files = sorted(path for path in settings.networks.iterdir() if path.is_file() and path.name[0] != ".")
        found |= {path.stem: str(path) for path in files}
    return found


@cache
def style_weight(name: str) -> float | None:
    """The style loss's weight with a named network; None for a file, which is not read for that."""
    if name not in zoo.names():
        return None
    own = zoo.resolve(name).loss_weights.get("style") if name == zoo.DEFAULT else None
    return PRESETS["default"].style_weight if own is None else own


def check_options(task: str, given: Mapping[str, Any], networks: Mapping[str, str]) -> BaseModel:
    """The options of a job, before any of its pictures is looked at. Raises Error for what is wrong with them."""
    if task not in offers():
        raise one_of("task", task, offers())
    offer = offers()[task]
    for name in given:
        if name not in offer.options:
            raise one_of("option", name, offer.options)
    if given.get("init") not in (None, "content", "random"):
        raise Error(f"init: content or random is accepted, or an uploaded picture; got {given['init']!r}")
    network = given.get("network", zoo.DEFAULT)
    if not isinstance(network, str) or network not in networks:
        raise one_of("network", str(network), networks)
    return checked(offer.model, {**given, "network": networks[network]})


def check_work(task: str, options: Any, shapes: Mapping[str, Sequence[Shape]], settings: Settings) -> str:
    """Raises Error for what is over a limit; `shapes`: (height, width) of each picture. Gives the kind of the job."""
    first = next((shapes[field][0] for field in ("content", "source", "image") if shapes.get(field)), (0, 0))
    count, most = work.iterations(task, options, first), settings.max_iterations
    if count > most:
        raise Error(f"iterations: {count} over all scales and pictures; this server accepts up to {most}")
    _check_size(work.side(task, options, first), options, settings.max_size)
    return _kind(options, first) if task == TOGETHER else ""


def check_inputs(offer: Offer, counts: Mapping[str, int]) -> None:
    """That the pictures that are needed are there, and no others."""
    for field in counts:
        if field not in offer.inputs:
            raise one_of(f"picture of {offer.name}", field, offer.inputs)
    for field, wanted in offer.inputs.items():
        count, most = counts.get(field, 0), MOST_PICTURES if wanted.several else 1
        if wanted.required and not count:
            raise Error(f"{field}: a picture is needed, got none")
        if count > most:
            raise Error(f"{field}: at most {most} pictures are accepted, got {count}")
    if counts.get(MASKS[0], 0) != counts.get(MASKS[1], 0):
        got = " and ".join(str(counts.get(name, 0)) for name in MASKS)
        raise Error(f"{', '.join(MASKS)}: as many of the one as of the other are accepted, got {got}")


def _check_size(size: int, options: Any, most: int) -> None:
    if size > most:
        got = f"{size} pixels" if options.size else f"the picture would be {size} pixels long, and no size is given"
        raise Error(f"size: {got}; this server accepts up to {most}")
    scaled = size * getattr(options, "style_scale", 1)
    if scaled > most:
        raise Error(f"style-scale: the style would be {scaled:.0f} pixels long; this server accepts up to {most}")
    if (getattr(options, "source_size", None) or 0) > most:
        raise Error(f"source-size: {options.source_size} pixels; this server accepts up to {most}")


def _kind(options: Any, content: Shape) -> str:
    """Equal for jobs that may be painted together; the painter looks again when it has read them."""
    own = {name: getattr(options, name) for name in type(options).model_fields if name not in APART}
    if str(options.network) == zoo.RANDOM:
        own["seed"] = options.seed
    return json.dumps([content, own], sort_keys=True, default=str)
