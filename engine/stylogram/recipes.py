"""Recipes: what programs of style transfer do differently, as data; the presets reproduce well-known ones.

`default` is scale-free, so that one set of weights serves every network. The numbers of the others are those of the
programs themselves: layers, weights, normalisations, initial picture, range of the pixels, pooling, optimiser.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .optimise import Settings

GATYS_STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


@dataclass(frozen=True)
class Recipe:
    """One way to stylise. Weights multiply the losses as the named normalisations define them.

    `pixel_range`: the picture is optimised in [0, pixel_range]; TV, the learning rate and L-BFGS's first step depend on
    it. `expects`: the preprocessing of the weights that the original program used. `iterations`: one entry a scale, the
    scales growing by `growth` to `size`. `coarsest`: the long side from which on there are several scales, from a
    picture and from noise. `margin`: pixels beyond each side that are optimised and cut off, since the outermost ones
    are seen by few features and stay hazy (with one scale only where it is asked for: in a small picture it is a large
    part of the work). `side`: the side of the content that `size` measures.
    """

    summary: str
    expects: str | None = None
    content_layers: tuple[str, ...] | None = None
    style_layers: tuple[str, ...] | None = None
    content_weight: float = 1.0
    style_weight: float = 24.0
    tv_weight: float = 5.0
    style_loss: str = "gram"
    style_normalization: str = "relative"
    content_normalization: str = "relative"
    tv: str = "mean-squared"
    pooling: str | None = None
    pixel_range: float = 1.0
    clamp: bool = False
    margin: int = 0
    init: str = "content"
    init_noise: float = 0.0
    noise: str = "uniform"
    size: int = 512
    side: str = "long"
    iterations: tuple[int, ...] = (300,)
    growth: float = 2.0
    coarsest: tuple[int, int] | None = None
    optimiser: Settings = field(default_factory=Settings)

    def scales(self, over: Mapping[str, Any]) -> int:
        """How many scales there are with some fields replaced: one an entry of iterations, or from `coarsest` on."""
        if self.coarsest is None:
            return len(self.iterations)
        start = self.coarsest[over.get("init", self.init) == "random"]
        return 1 + max(int(math.log(over.get("size", self.size) / start, self.growth) + 1e-9), 0)

    def suited(self, weights: Mapping[str, float], precondition: float, given: Mapping[str, Any]) -> "Recipe":
        """With a network's own weights of the losses, by their names, and its preconditioning of L-BFGS.

        Except those that are `given` (not None).
        """
        own: dict[str, Any] = {f"{name}_weight": value for name, value in weights.items()}
        if given.get("precondition") is None and self.optimiser.name == "lbfgs":
            own["optimiser"] = replace(self.optimiser, precondition=precondition)
        return replace(self, **{name: value for name, value in own.items() if given.get(name) is None})

    def iterations_of(self, scales: int, given: int | None) -> tuple[int, ...]:
        """The iterations of each scale: what is `given` for all, or the recipe's; more scales repeat the first."""
        own = self.iterations if given is None else (given,)
        return own[:scales] if scales <= len(own) else own[:1] * (scales - len(own)) + own


PRESETS: dict[str, Recipe] = {
    # Coarse to fine from 256 pixels on (from noise, 128): bench/results/scales_*.json. For the same work the strokes
    # are larger; the loss is lower from noise, and from the content for one pair of two, 3% higher for the other.
    "default": Recipe(
        "scale-free losses, L-BFGS from the content picture, coarse to fine",
        iterations=(250,),
        coarsest=(256, 128),
        margin=8,
        optimiser=Settings(history=40),  # 100 take three times as long at 512 px, and as many iterations
    ),
    # github.com/jcjohnson/neural-style, neural_style.lua
    "neural-style": Recipe(
        "the Torch program by Johnson",
        expects="caffe",
        content_layers=("relu4_2",),
        style_layers=tuple(name.replace("conv", "relu") for name in GATYS_STYLE),
        content_weight=5.0,
        style_weight=100.0 * len(GATYS_STYLE),  # 100 on every layer; our style weight is shared among the layers
        tv_weight=1e-3,
        style_normalization="mean-square-chw",
        content_normalization="mean-square",
        tv="half-squared-crop",
        pixel_range=256.0,
        init="random",
        noise="faint",
        iterations=(1000,),
        optimiser=Settings(history=100, backtrack=False),
    ),
    # github.com/leongatys/PytorchNeuralStyleTransfer
    "gatys": Recipe(
        "the PyTorch notebook by Gatys et al.",
        expects="caffe",
        content_layers=("relu4_2",),
        style_layers=tuple(name.replace("conv", "relu") for name in GATYS_STYLE),
        content_weight=1.0,
        # 1e3 / C² on the mean square of Gram/(H W): what 1e3 is on that of Gram/(C H W)
        style_weight=1e3 * len(GATYS_STYLE),
        tv_weight=0.0,
        style_normalization="mean-square-chw",
        content_normalization="mean-square",
        pixel_range=255.0,
        size=1024,
        side="short",
        iterations=(500, 200),
        optimiser=Settings(history=100, backtrack=False),
    ),
    # keras.io/examples/generative/neural_style_transfer
    "keras": Recipe(
        "the Keras example",
        expects="caffe",
        content_layers=("block5_conv2",),
        style_layers=tuple(f"block{k}_conv1" for k in range(1, 6)),
        content_weight=2.5e-8,
        style_weight=1e-6,
        tv_weight=1e-6,
        style_normalization="keras",
        content_normalization="sum",
        tv="keras",
        pixel_range=255.0,
        size=400,
        side="rows",
        iterations=(4000,),
        optimiser=Settings("sgd", learning_rate=100.0, decay=0.96, decay_every=100),
    ),
    # The assignment of Coursera's "Convolutional Neural Networks", week 4. Its fixed 400×300 distorts the picture; here
    # 400 is the long side and the aspect is kept.
    "coursera": Recipe(
        "the Coursera assignment",
        expects="caffe",
        content_layers=("conv4_2",),
        style_layers=GATYS_STYLE,
        content_weight=10.0,
        style_weight=40.0,  # 0.2 on each of five layers: our style weight is shared among the layers
        tv_weight=0.0,
        style_normalization="quarter",
        content_normalization="quarter",
        pooling="avg",
        pixel_range=255.0,
        init_noise=0.6,
        noise="band",
        size=400,
        iterations=(200,),
        optimiser=Settings("adam", learning_rate=2.0),
    ),
    # pytorch.org/tutorials/advanced/neural_style_tutorial
    "tutorial": Recipe(
        "PyTorch's tutorial: features before the ReLU, the picture clamped",
        expects="imagenet",
        content_layers=("conv2_2:linear",),
        style_layers=tuple(f"{name}:linear" for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")),
        content_weight=1.0,
        style_weight=1e6 * 5,
        tv_weight=0.0,
        style_normalization="mean-square-chw",
        content_normalization="mean-square",
        clamp=True,
        iterations=(300,),
        optimiser=Settings(history=100, backtrack=False),
    ),
}
