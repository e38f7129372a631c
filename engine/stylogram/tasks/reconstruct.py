"""Reconstruct: what a layer keeps of a picture: another picture that is the same to it.

min over x of  ‖Φ(x) − Φ₀‖² / ‖Φ₀‖² + α-norm + total variation (Mahendran and Vedaldi 2015; see inversion.py), or with
--grid the figure of Gatys, Ecker and Bethge (2016): content layer by layer, style on growing sets of layers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from stylogram_export.network import folded

from .. import inversion, losses, pictures
from ..driver import Callback, Outcome, Stage, run, shown
from ..errors import Error, one_of
from ..initial import NOISES
from ..looking import Looking, mean_colour
from ..objective import Objective, PictureTerm
from ..optimise import OPTIMISERS, Optimiser, Settings
from ..options import LayerWeights, RunOptions, Weight, checked
from ..preconditioned import optimiser_of
from ..result import Result
from ..session import Array, FeaturePass, Shape, features_of, give_back
from ..sheets import sheet

Picture = str | Path | NDArray[Any]
Stages = list[Callable[[Array | None], Stage]]

ARGUMENTS = {"image": False}
SIDE = inversion.SIDE  # long side that a picture is brought to if no other is asked for and it is larger
COLUMNS = 5  # of a sheet of all starts
#: How the loss is minimised, and for how long: Adam on Fourier coefficients, L-BFGS on pixels, or the paper's descent.
PRESETS = {"natural": 200, "pixels": 200, "mahendran": sum(count for _, count in inversion.SCHEDULE)}
ITERATIONS = 200  # of each of the grid's
WEIGHT = 500.0  # of the grid's losses: where they are not convex, as near noise, L-BFGS goes by the gradient alone
GROWTH = 1.5  # of L-BFGS on the grid's style: how much further coarse structures move than those of half the size
GRID_ONLY = ("style", "content_layers", "style_layers")
SINGLE_ONLY = ("layer", "starts", "keep", "pairs", "alpha", "alpha_weight", "tv_beta")


def _preset(value: Any) -> str:
    if not isinstance(value, str) or value not in PRESETS:
        raise one_of("preset", str(value), PRESETS)
    return value


class Options(RunOptions):
    """What `reconstruct` takes beside the picture."""

    layer: str | None = Field(None, title="NAME", description="the layer; the network's content layer if not given")
    preset: Annotated[str, BeforeValidator(_preset)] = Field(
        "natural",
        title="NAME",
        description=f"{', '.join(PRESETS)}: in Fourier space; on pixels; the paper's descent, not for the grid",
    )
    starts: int = Field(1, ge=1, le=256, title="N", description="reconstructions from different noise, all at once")
    keep: Literal["best", "all"] = Field(
        "best", description="the one whose code is nearest, or a sheet of all with their errors"
    )
    pairs: str | Path | tuple[Any, ...] | None = Field(
        None,
        title="FOLDER",
        description="pictures: errors are also given over the mean squared distance between their codes",
    )
    alpha: float = Field(inversion.ALPHA, ge=1, le=32, title="X", description="exponent of the α-norm")
    alpha_weight: Weight = Field(inversion.ALPHA_WEIGHT, title="X", description="weight of the α-norm")
    tv_beta: float = Field(inversion.BETA, ge=1, le=8, title="X", description="exponent of the total variation")
    tv_weight: Weight | None = Field(
        None,
        title="X",
        description="weight of the total variation: 1, on pixels 1, 10 or 100 by what the layer sees; with grid 0",
    )
    grid: bool = Field(False, description="content layer by layer and style on growing sets of layers, on one sheet")
    style: str | Path | np.ndarray | None = Field(
        None, title="FILE", description="the picture of the grid's style row; the same picture if not given"
    )
    content_layers: LayerWeights | None = Field(
        None, title="A,B", description="of the grid; one of each stage if not given"
    )
    style_layers: LayerWeights | None = Field(
        None, title="A,B", description="of the grid; the first of each stage if not given"
    )

    def settings(self) -> Settings:
        """The optimiser's."""
        return Settings(**self.of_optimiser())


@dataclass(frozen=True)
class Reconstruction(Result):
    """A Result. `pictures`: all of them, (H,W,3) in [0,1]; the others are of the same order.

    `errors`: ‖y − y₀‖² / ‖y₀‖² of each one's code y; `normalised`: ‖y − y₀‖² over the mean squared distance of the
    codes of two of the `pairs`, where those were given. Both are of the pictures as they are, clipped to [0,1].
    """

    pictures: tuple[Array, ...] = field(default=(), repr=False)
    errors: tuple[float, ...] = ()
    normalised: tuple[float, ...] = ()


def reconstruct(image: Picture, *, callback: Callback | None = None, **options: Any) -> Reconstruction:
    """Reconstruct `image`, a path or an array (H,W,3) RGB, from its code at a layer, or from many (`grid=True`).

    `options` are the fields of Options, by the command line's names; `pairs` may also be a tuple of pictures. Raises
    Error for bad input; Diverged, an Error, when the loss is no longer a number; Interrupted on Ctrl-C: both hold what
    there is as `.result`.
    """
    chosen = checked(Options, options)
    work: _Work = LayerGrid(image, chosen) if chosen.grid else Inversion(image, chosen)
    stages = work.stages()
    return run(stages, len(stages), work.result, threads=work.threads, callback=callback, tolerance=chosen.tolerance)


class _Work(Protocol):
    threads: int

    def stages(self) -> Stages: ...

    def result(self, outcome: Outcome) -> Reconstruction: ...


def _refuse(options: Options, names: Sequence[str], why: str) -> None:
    """Options that would have no effect are an error, if they were given."""
    for name in names:
        value = getattr(options, name)
        if isinstance(value, np.ndarray) or value != Options.model_fields[name].default:
            raise Error(f"{name.replace('_', '-')}: {why}")


def _refuse_optimiser(options: Options) -> None:
    """Only a descent on pixels takes another."""
    if options.preset != "pixels" and options.of_optimiser().keys() - {"learning_rate"}:
        raise Error(f"preset: {options.preset} has an optimiser of its own; pixels takes others, and a history")


def _read(source: Picture, size: int | None) -> tuple[Array, int]:
    """A picture (H,W,3) at `size` or at most SIDE, and its depth in bits."""
    picture = pictures.read(source)
    height, width = picture.rgb.shape[:2]
    return pictures.resized(
        picture.rgb, pictures.fitted(height, width, size or min(max(height, width), SIDE))
    ), picture.depth


class Inversion(Looking):
    """One layer's code inverted, from several starts at once."""

    def __init__(self, image: Picture, options: Options) -> None:
        _refuse(options, GRID_ONLY, "it is an option of the grid: --grid is needed")
        _refuse_optimiser(options)
        self.options = options
        self.image, self.depth = _read(image, options.size)
        self.paths = _paths(options.pairs)
        super().__init__(options)
        self.layer = options.layer or self.network.layers.content[0]
        self.tensor = self.network.layers.tensor(self.layer)
        self.model = folded(self.network, [self.tensor])
        self.colour = mean_colour(self.network)
        own = inversion.NATURAL_TV if options.preset == "natural" else self._tv_by_sight()
        self.tv_weight = own if options.tv_weight is None else options.tv_weight
        self.code = self._codes(pictures.to_batch(self.image))[0]
        if not self.code.any():
            raise Error(f"layer {self.layer}: the picture's code is zero everywhere: nothing can be told from it")
        self.spread = None if not self.paths else inversion.spread(map(self._code_of, self.paths))

    def _tv_by_sight(self) -> float:
        return inversion.tv_weight(self.network.model, self.tensor)

    def _codes(self, batch: Array) -> Array:
        """The codes (N,...) of pictures (N,3,H,W) in [0,1]."""
        return features_of(self.model, [self.tensor], batch, **self.ways)[self.tensor]

    def _code_of(self, source: Picture) -> Array:
        """That of another picture, its middle cut to the aspect of this one."""
        rgb = _cropped(pictures.read(source).rgb, self.image.shape[:2])
        code: Array = self._codes(pictures.to_batch(pictures.resized(rgb, self.image.shape[:2])))[0]
        return code

    def stages(self) -> Stages:
        return [self._stage]

    def _stage(self, before: Array | None) -> Stage:  # noqa: ARG002 -- there is one scale only
        options = self.options
        shape = (options.starts, 3, *self.image.shape[:2])
        iterations = options.iterations or PRESETS[options.preset]
        network, optimiser = self._begin(shape, iterations)
        give_back()
        content = losses.load("content", "features").Term(
            self.layer, self.tensor, [self.code] * options.starts, 1.0, "relative"
        )
        priors = inversion.priors(
            shape, self.colour, (options.alpha, options.alpha_weight), (options.tv_beta, self.tv_weight)
        )
        return Stage(Objective(network, [content], priors), optimiser, iterations)

    def _begin(self, shape: Shape, iterations: int) -> tuple[FeaturePass, Optimiser]:
        """The network with its first pictures, and what moves them."""
        options, settings = self.options, self.options.settings()
        rng = np.random.default_rng(options.seed)
        if options.preset == "natural":
            rate = options.learning_rate or inversion.RATE
            return inversion.natural(self.model, self.tensor, shape, iterations, rng, rate=rate, **self.ways)
        network = FeaturePass(self.model, [self.tensor], shape, **self.ways)
        network.picture[:] = inversion.starting(shape, self.colour, rng)
        if options.preset == "mahendran":
            rate = options.learning_rate or inversion.SCHEDULE[0][0]
            return network, inversion.Momentum(shape, iterations, rate)
        return network, OPTIMISERS[settings.name](options.starts, network.picture[0].size, settings)

    def result(self, outcome: Outcome) -> Reconstruction:
        """The reconstruction whose code is nearest, or all of them on a sheet."""
        made = [shown(picture, 1.0, 0) for picture in outcome.pictures]
        codes = self._codes(np.concatenate([pictures.to_batch(rgb) for rgb in made]))
        errors = inversion.errors(codes, self.code)
        whole = float(np.square(self.code, dtype=np.float64).sum())
        normalised = () if self.spread is None else tuple(error * whole / self.spread for error in errors)
        best = int(np.argmin(errors))
        rgb = made[best] if self.options.keep == "best" else self._sheet(made, errors)
        return Reconstruction(
            rgb,
            outcome.trace,
            depth=self.depth,
            notes=(*self.notes, *self._report(errors, normalised, best)),
            pictures=tuple(made),
            errors=tuple(errors),
            normalised=normalised,
        )

    def _sheet(self, made: Sequence[Array], errors: Sequence[float]) -> Array:
        labels = [f"{number}: {100 * error:.2f}%" for number, error in enumerate(errors, 1)]
        return sheet([self.image, *made], min(len(made) + 1, COLUMNS), ["the picture", *labels])

    def _report(self, errors: Sequence[float], normalised: Sequence[float], best: int) -> Iterator[str]:
        each = f" ({', '.join(f'{100 * error:.2f}%' for error in errors)})" if len(errors) > 1 else ""
        yield f"{self.layer}: error ‖y − y₀‖² / ‖y₀‖² is {100 * errors[best]:.2f}%{each}"
        if normalised:
            share = 100 * normalised[best]
            yield f"that is {share:.2f}% of the mean squared distance between the codes of {len(self.paths)} pictures"


def _paths(pairs: str | Path | tuple[Any, ...] | None) -> Sequence[Picture]:
    """The pictures whose codes are compared: those of a folder by name, or as they are given."""
    if pairs is None:
        return ()
    if isinstance(pairs, tuple):
        return pairs
    folder = Path(pairs)
    if not folder.is_dir():
        raise Error(f"pairs: a folder of pictures is needed, {folder} is none")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in pictures.WRITERS)
    if len(found) < 2:
        raise Error(f"pairs: at least two pictures are needed, {folder} has {len(found)}")
    return found


def _cropped(rgb: Array, like: tuple[int, ...]) -> Array:
    """The middle of a picture, as large as can be in the aspect of `like` (H, W)."""
    height, width = rgb.shape[:2]
    scale = min(height / like[0], width / like[1])
    rows, columns = (max(round(side * scale), 1) for side in like[:2])
    top, left = (height - rows) // 2, (width - columns) // 2
    return rgb[top : top + rows, left : left + columns]


def _stage_of(layer: str) -> str:
    """`conv3` of conv3_1 and of conv3_1:white."""
    return layer.rpartition("_")[0] or layer


@dataclass(frozen=True)
class _Cell:
    """One reconstruction of the grid: of the content at one layer, or of the style on several."""

    kind: Literal["content", "style"]
    layers: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} … {self.layers[-1]}"


class LayerGrid(Looking):
    """Figure 1 of Gatys et al. (2016): a stage for each reconstruction, from the same noise."""

    def __init__(self, image: Picture, options: Options) -> None:
        _refuse(options, SINGLE_ONLY, "it is no option of the grid")
        if options.preset == "mahendran":
            raise Error("preset: natural and pixels are accepted with grid, got mahendran")
        _refuse_optimiser(options)
        self.options = options
        self.image, self.depth = _read(image, options.size)
        self.style = self.image if options.style is None else _read(options.style, max(self.image.shape[:2]))[0]
        super().__init__(options)
        content, style = self._layers()
        self.cells = [_Cell("content", (name,)) for name in content]
        self.cells += [_Cell("style", tuple(style[: count + 1])) for count in range(len(style))]
        self.columns = max(len(content), len(style))
        self.content = len(content)
        self.tensors = {name: self.network.layers.tensor(name) for cell in self.cells for name in cell.layers}
        self.done: list[Array] = []

    def _layers(self) -> tuple[list[str], list[str]]:
        """Those of the two rows: as given, else of each stage the second and the first layer, as in the figure.

        The first is that of the network's style layers, where the stage has one: seednet's are whitened ones. The layer
        behind the last weights is that of the classes where it has company in its stage, and left out.
        """
        own, model = self.network.layers, self.network.model
        stages: dict[str, list[str]] = {}
        for name in own.names:
            stage = stages.setdefault(_stage_of(name), [])
            if not stage or inversion.depth(model, own.tensor(name)) < 1:
                stage.append(name)
        first = {_stage_of(name): name for name in reversed(own.style)}
        content = self.options.content_layers or dict.fromkeys(stage[:2][-1] for stage in stages.values())
        style = self.options.style_layers or dict.fromkeys(
            first.get(stage, names[0]) for stage, names in stages.items()
        )
        return list(content), list(style)

    def stages(self) -> Stages:
        return [partial(self._stage, index) for index in range(len(self.cells))]

    def _stage(self, index: int, before: Array | None) -> Stage:
        if before is not None:
            self.done[index - 1 :] = [shown(before[0], 1.0, 0)]
        cell, options = self.cells[index], self.options
        tensors = [self.tensors[name] for name in cell.layers]
        model = folded(self.network, tensors)
        source = pictures.to_batch(self.image if cell.kind == "content" else self.style)
        wanted = features_of(model, tensors, source, **self.ways)
        iterations = options.iterations or ITERATIONS
        network, optimiser = self._begin(cell, model, tensors, iterations)
        give_back()
        objective = Objective(network, self._terms(cell, network, wanted), self._picture_terms(network))
        return Stage(objective, optimiser, iterations)

    def _begin(
        self, cell: _Cell, model: onnx.ModelProto, tensors: list[str], iterations: int
    ) -> tuple[FeaturePass, Optimiser]:
        """The network with its first picture, and what moves it.

        `pixels`: white noise and an optimiser on the pixels, as in the figure. There deep layers end in high
        frequencies: `natural` goes down the same losses in Fourier coefficients (content), or preconditioned (style).
        """
        options, shape = self.options, (1, 3, *self.image.shape[:2])
        natural, rng = options.preset == "natural", np.random.default_rng(options.seed)
        if natural and cell.kind == "content":
            rate = options.learning_rate or inversion.RATE
            return inversion.natural(model, tensors[0], shape, iterations, rng, rate=rate, **self.ways)
        network = FeaturePass(model, tensors, shape, **self.ways)
        network.picture[:] = pictures.to_batch(NOISES["uniform"](rng, self.image.shape, 1.0))
        settings = Settings(precondition=GROWTH) if natural else options.settings()
        return network, optimiser_of(settings, shape)

    def _terms(self, cell: _Cell, network: FeaturePass, wanted: dict[str, Array]) -> list[Any]:
        pairs = [(name, self.tensors[name]) for name in cell.layers]
        if cell.kind == "content":
            module = losses.load("content", "features")
            return [module.Term(name, tensor, [wanted[tensor]], WEIGHT, "relative") for name, tensor in pairs]
        module, pixels, share = losses.load("style", "gram"), network.picture[0, 0].size, WEIGHT / len(pairs)
        return [
            module.Term(
                name, tensor, network.features[tensor].shape, [(module.target(wanted[tensor]), 1.0)], share,
                "relative", pixels,
            )
            for name, tensor in pairs
        ]  # fmt: skip

    def _picture_terms(self, network: FeaturePass) -> list[PictureTerm]:
        weight = self.options.tv_weight
        return [losses.load("picture", "tv").Term(network.shape, WEIGHT * weight)] if weight else []

    def result(self, outcome: Outcome) -> Reconstruction:
        """The sheet: a row of content and one of style, behind the picture itself; what is not made yet is white."""
        made = [*self.done[: outcome.scale - 1], shown(outcome.pictures[0], 1.0, 0)]
        blank = np.ones_like(self.image)
        cells = made + [blank] * (len(self.cells) - len(made))
        words = [cell.label for cell in self.cells]
        places: list[Array] = []
        labels: list[str] = []
        for source, row in ((self.image, slice(self.content)), (self.style, slice(self.content, None))):
            missing = self.columns - len(cells[row])
            places += [source, *cells[row], *[blank] * missing]
            labels += ["the picture", *words[row], *[""] * missing]
        grid = sheet(places, self.columns + 1, labels, row_labels=("content", "style"))
        return Reconstruction(grid, outcome.trace, depth=self.depth, notes=tuple(self.notes), pictures=tuple(made))
