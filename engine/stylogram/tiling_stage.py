"""A stage of a picture in tiles: whether there are any, and its targets; the rest is as in painting.py."""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from . import losses, memory
from .errors import Error
from .losses.content import Place, place
from .masks import Region
from .session import Array, Extractor
from .stages import pass_bytes
from .tiling import Layout, Plan, parts
from .tiling_objective import PartTerm, TiledPass

if TYPE_CHECKING:
    from .subject import Subject

PROBE = 512  # pixels: the side at which the memory of a tile is computed


def plan_of_picture(model: onnx.ModelProto, subject: "Subject", size: tuple[int, int]) -> Plan | None:
    """The tiles of the picture that is optimised, of `size` (H,W); None where it is taken as a whole."""

    def kept(layout: Layout) -> float:
        content = sum(math.prod(layout.shapes[tensor]) for _, tensor, _ in subject.taps.content)
        return memory.kept_bytes(size, content, subject.recipe, subject.options.scratch is not None)

    def of_pass(graph: onnx.ModelProto, taps: Sequence[str], probe: tuple[int, int]) -> int:
        return pass_bytes(graph, taps, (1, 3, *probe), subject.options.convolution)[0]

    return _plan(model, subject, subject.taps.tensors, size, of_pass, kept)


def plan_of_style(model: onnx.ModelProto, subject: "Subject", size: tuple[int, int]) -> Plan | None:
    """The same of a style, whose features alone are computed."""
    taps = [tensor for _, tensor, _ in subject.taps.style]
    return _plan(model, subject, taps, size, memory.bytes_of_features, lambda _: 0.0)


def _plan(
    model: onnx.ModelProto,
    subject: "Subject",
    taps: Sequence[str],
    size: tuple[int, int],
    bytes_of: Callable[[onnx.ModelProto, Sequence[str], tuple[int, int]], int],
    kept: Callable[[Layout], float],
) -> Plan | None:
    tile = subject.options.tile
    if tile is None:
        return None
    _check(subject)
    layout = Layout(model, taps, size)
    if isinstance(tile, int):
        core: int | None = tile
    else:
        probe = (min(size[0], PROBE), min(size[1], PROBE))
        each = bytes_of(model, taps, probe) / math.prod(probe)
        halo = max(reach.halo + reach.step for reach in layout.reaches)
        core = memory.core(each, size, halo, kept(layout), memory.available())
    plan = None if core is None else layout.plan(core)
    return plan if plan is not None and len(plan.tiles) > 1 else None


def _check(subject: "Subject") -> None:
    """Raises Error for a style loss that cannot be added up over parts of a picture."""
    name = subject.recipe.style_loss
    if subject.taps.style and not hasattr(losses.load("style", name), "PartTerm"):
        able = [own for own in losses.names("style") if hasattr(losses.load("style", own), "PartTerm")]
        raise Error(f"tile: the style loss {name!r} needs the whole picture; accepted: {', '.join(able)}")


def style_targets(
    loss: str, extractor: Extractor, plan: Plan, picture: Array, regions: Sequence[Region]
) -> dict[tuple[str, int], Array]:
    """What a loss aims at, of a style (1,3,H,W), by tensor and region, tile by tile."""
    module = losses.load("style", loss)
    masks = {}
    for tap, shape in plan.shapes.items():
        for k, region in enumerate(regions):
            mask = region.style_mask(shape[2:])
            masks[tap, k] = None if mask is None else mask.reshape(shape[2:])
    sums = {(tap, k): module.Sum(plan.shapes[tap][1]) for tap, k in masks}
    for tile in plan.tiles:
        extractor.picture[0] = picture[0][(slice(None), *tile.pixels)]
        extractor.forward()
        for tap, features in extractor.features.items():
            for part, own in parts(features, tile.owned[tap]):
                for k in range(len(regions)):
                    mask = masks[tap, k]
                    sums[tap, k].add(own, None if mask is None else np.ascontiguousarray(mask[part.whole]).reshape(-1))
    return {key: own.target() for key, own in sums.items()}


def content_terms(network: TiledPass, subject: "Subject") -> list[PartTerm]:
    """The terms on the content, which is the picture that `network` holds."""
    layers = subject.taps.content
    if not layers:
        return []
    scratch = subject.options.scratch
    targets: dict[str, dict[Place, Array]] = {tensor: {} for _, tensor, _ in layers}
    for tile in network.plan.tiles:
        network.forward(tile)
        for tensor, own in targets.items():
            for part, features in network.parts(tile, tensor):
                own[place(part.whole)] = features if scratch is None else _stored(features, scratch)
    module, recipe = losses.load("content", "features"), subject.recipe
    return [
        module.PartTerm(layer, tensor, targets[tensor], weight * recipe.content_weight, recipe.content_normalization)
        for layer, tensor, weight in layers
    ]


def _stored(array: Array, directory: Path) -> Array:
    """The same in a file without a name, of which the system keeps in memory what there is room for."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(array.data)  # and not through the map, where a full disk would be a signal
            file.flush()
            return np.memmap(file, np.float32, "r", shape=array.shape)
    except OSError as error:
        raise Error(f"scratch: {directory}: {error.strerror or error}") from error
