"""Taps: the layers whose features are compared, as tensors of the network's graph with their weights."""

from dataclasses import dataclass, replace

import onnx
from stylogram_export.network import Network
from stylogram_export.preprocess import PREPROCESS, fold

from .errors import Error
from .recipes import Recipe

Layer = tuple[str, str, float]  # the name as given, the tensor, the weight
LARGE = 384  # pixels of the longer side, from which on a network's coarse style layers are taken too


@dataclass(frozen=True)
class Taps:
    """Content and style layers. The weights of each kind sum to one."""

    content: tuple[Layer, ...]
    style: tuple[Layer, ...]
    notes: tuple[str, ...]

    @property
    def tensors(self) -> list[str]:
        """Every tensor once, content first."""
        return list(dict.fromkeys(tensor for _, tensor, _ in (*self.content, *self.style)))

    @classmethod
    def choose(
        cls,
        network: Network,
        recipe: Recipe,
        content: dict[str, float] | None,
        style: dict[str, float] | None,
        longer: int = 0,
    ) -> "Taps":
        """The layers that were given, else the recipe's, else the network's own; a kind of weight 0 has none.

        `longer`: pixels of the longer side of what is to be made.
        """
        own = network.layers
        content = content or dict.fromkeys(recipe.content_layers or own.content, 1.0)
        weights = own.weights if recipe.style_layers is None else {}
        coarse = own.coarse if recipe.style_layers is None and longer >= LARGE else {}
        style = style or {**{name: weights.get(name, 1.0) for name in recipe.style_layers or own.style}, **coarse}
        return cls(
            _resolved(network, "content-layers", content) if recipe.content_weight else (),
            _resolved(network, "style-layers", style) if recipe.style_weight else (),
            tuple(_notes(network, recipe)),
        )

    def model(self, network: Network, pixel_range: float) -> onnx.ModelProto:
        """The network as a graph on RGB pictures in [0, pixel_range], its preprocessing folded in."""
        # Programs of 0-255 (or Torch's 0-256) subtract the mean in those units: their scale is 1, not 255/256.
        scale = network.preprocess.scale / (255.0 if pixel_range > 1 else 1.0)
        return fold(network.model, replace(network.preprocess, scale=scale))


def _resolved(network: Network, option: str, layers: dict[str, float]) -> tuple[Layer, ...]:
    total = sum(layers.values())
    if not total:
        raise Error(f"{option}: at least one weight must be above 0, got {layers}")
    chosen = tuple((name, network.layers.tensor(name), weight / total) for name, weight in layers.items() if weight)
    twice = {tensor for _, tensor, _ in chosen if sum(other == tensor for _, other, _ in chosen) > 1}
    if twice:
        raise Error(f"{option}: {', '.join(name for name, tensor, _ in chosen if tensor in twice)} are the same layer")
    return chosen


def _notes(network: Network, recipe: Recipe) -> list[str]:
    notes = []
    if network.assumed_preprocess:
        notes.append(f"{network.name} does not say its preprocessing: imagenet is assumed (--preprocess)")
    if recipe.expects and network.preprocess != PREPROCESS[recipe.expects]:
        notes.append(f"the preset was made for weights of {recipe.expects} preprocessing; {network.name} has its own")
    return notes
