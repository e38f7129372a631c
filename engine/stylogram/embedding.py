"""What `network export` tells programs that embed the engine (csrc/runtime): layers, and weights of the losses.

As `stylize` takes them with its default preset: of the losses and the preconditioning the network's own, where it has
some. Metadata are text: a line for each entry, its fields separated by tabs.
"""

from collections.abc import Iterable

from stylogram_export.network import Network

from .errors import Error
from .options import checked
from .subject import chosen
from .taps import Layer
from .tasks.stylize import Options

VERSION = "1"  # of these entries


def plan(
    network: Network, content_layers: str | None, style_layers: str | None, longer: int = 0
) -> tuple[list[str], dict[str, str]]:
    """The layers of a pair of graphs, and the metadata for both; layers that are None are those of `network`.

    `longer`: pixels of the longer side, 0 if that is open.
    """
    given = {"content_layers": content_layers, "style_layers": style_layers}
    options = checked(Options, {name: layers for name, layers in given.items() if layers is not None})
    recipe, taps = chosen(options, options.recipe(), network, longer)
    weights = {"content": recipe.content_weight, "style": recipe.style_weight, "tv": recipe.tv_weight}
    details = {
        "engine": VERSION,
        "content": _lines(_fields(layer) for layer in taps.content),
        "style": _lines(_fields(layer) for layer in taps.style),
        "weights": _lines((repr(float(weight)), name) for name, weight in weights.items()),
        "precondition": repr(float(recipe.optimiser.precondition)),
    }
    return [name for name, _, _ in (*taps.content, *taps.style)], details


def _fields(layer: Layer) -> tuple[str, str, str]:
    """Weight, name, tensor."""
    name, tensor, weight = layer
    if any(mark in text for text in (name, tensor) for mark in "\t\n"):
        raise Error(f"layer {name!r}: names without tabs and line breaks are accepted, got tensor {tensor!r}")
    return repr(float(weight)), name, tensor


def _lines(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)
