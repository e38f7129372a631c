"""Maximize: the picture that a channel, a neuron, a direction or a class of a network likes best.

max over x of  Σ_c d_c mean_p F_cp(T x) - priors(x),  T shifts, turns and zooms at random (Erhan et al. 2009;
Yosinski et al. 2015; Mahendran and Vedaldi 2016; Olah, Mordvintsev and Schubert 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
from pydantic import BeforeValidator, Field
from stylogram_export.network import folded

from .. import inversion, losses, pictures
from ..ascent import RegularisedAscent
from ..awake import LEAK, awakened, last_relus
from ..driver import Callback, Outcome, Stage, run
from ..errors import Error, one_of
from ..fourier import FourierOptimiser, FourierPicture
from ..looking import Looking, mean_colour
from ..objective import FeatureTerm, Objective, PictureTerm
from ..optimise import Adam, Optimiser, Settings
from ..options import NetworkOptions, Positive, Weight, checked
from ..priors import PRIORS, Prior
from ..result import Result
from ..session import Array, features_of
from ..sheets import sheet
from ..tiles import stretched
from ..transforms import Samplings, ViewedPass
from ..units import SIDE, Classes, Logits, Units, check_units, direction, native_size, shape_of, together

ARGUMENTS: dict[str, bool] = {}
BATCH = 8  # pictures that go through the network together


def _prior(value: Any) -> str:
    if not isinstance(value, str) or value not in PRIORS:
        raise one_of("prior", str(value), PRIORS)
    return value


class Options(NetworkOptions):
    """What is maximised, and how it is kept a picture. What is None comes from the prior."""

    layer: str | None = Field(None, title="NAME", description="the layer of --unit or --direction")
    unit: Units | None = Field(None, title="K,L-M", description="channels of the layer; several make a sheet")
    class_: Classes | None = Field(
        None, title="K,L|NAME", description="a class, by number or name, in place of a layer; several numbers: a sheet"
    )
    classes: str | Path | None = Field(
        None, title="FILE", description="names of the classes: a name a line, or JSON; the network's own if not given"
    )
    direction: str | Path | np.ndarray | None = Field(
        None, title="K=W,L=W|FILE.npy", description="a direction among the layer's channels"
    )
    at: str | tuple[int, int] | None = Field(
        None, title="center|ROW,COLUMN", description="one neuron of the channel; the mean over all if not given"
    )
    prior: Annotated[str, BeforeValidator(_prior)] = Field("natural", title="NAME", description=", ".join(PRIORS))
    diversity: int = Field(1, ge=1, le=64, title="N", description="N pictures of each unit, as unlike as they can be")
    diversity_weight: Weight = Field(0.5, title="X", description="how much that counts, of the activation")
    iterations: int | None = Field(None, ge=1, title="N", description="steps")
    learning_rate: Positive | None = Field(None, title="X", description="of Adam, or of Yosinski's ascent")
    jitter: int | None = Field(None, ge=0, le=512, title="PIXELS", description="how far the picture is shifted")
    turn: float | None = Field(None, ge=0, le=180, title="DEGREES", description="how far it is turned")
    stretch: float | None = Field(None, ge=0, le=0.5, title="X", description="how far it is zoomed: 1-X to 1+X")
    tv_weight: Weight | None = Field(None, title="X", description="weight of the total variation: smoothness")
    alpha_weight: Weight | None = Field(None, title="X", description="weight of the α-norm: no glaring pixels")
    contrast: Weight | None = Field(
        None, title="X", description="take X times the mean of all classes off the score of one"
    )
    columns: int | None = Field(None, ge=1, title="N", description="pictures in a row of the sheet")

    def chosen_prior(self) -> Prior:
        """The prior with what was given put over it."""
        given: dict[str, Any] = {
            "contrast": self.contrast,
            "iterations": self.iterations, "rate": self.learning_rate, "jitter": self.jitter, "zoom": self.stretch,
            "degrees": self.turn, "tv_weight": self.tv_weight, "alpha_weight": self.alpha_weight,
        }  # fmt: skip
        return replace(PRIORS[self.prior], **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Maximized(Result):
    """A Result; `pictures` (H,W,3) float32 RGB in [0,1], one for each unit or `diversity` of them, and their labels."""

    pictures: tuple[Array, ...] = field(default=(), repr=False)
    labels: tuple[str, ...] = ()


def maximize(*, callback: Callback | None = None, **options: Any) -> Maximized:
    """The pictures of one unit or several; `options` are the fields of Options (`class_` is --class).

    Several make a sheet with their numbers below. Raises Error for bad input; Diverged when the loss is no longer a
    number; Interrupted on Ctrl-C, with what there is as `.result`.
    """
    work = _Maximising(checked(Options, options))
    return run(work.stages(), len(work.batches), work.result, threads=work.threads, callback=callback)


@dataclass(frozen=True)
class _Unit:
    """What one picture is of: a direction (C) among the tap's channels."""

    label: str
    direction: Array


class _Maximising(Looking):
    """One call of maximize: a stage for each batch of pictures."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.prior = options.chosen_prior()
        self._check_together()
        super().__init__(options)
        self.logits: Logits | None = None
        if options.class_ is not None:
            self.logits = Logits.of(self.network, options.classes)
            self.layer, self.tap = "classes", self.logits.tensor
        else:
            assert options.layer is not None, "_check_together wants one"
            self.layer, self.tap = options.layer, self.network.layers.tensor(options.layer)
        self.size = self._size()
        self.canvas, self.shape = self._canvas()
        self.diversity_tap = self._diversity_tap()
        self.model = folded(self.network, list(dict.fromkeys([self.tap, self.diversity_tap])))
        pictured = [unit for unit in self._units() for _ in range(options.diversity)]
        each = max(BATCH // options.diversity, 1) * options.diversity
        if options.diversity == 1:
            each = together(self.network, self.tap, self.canvas, min(each, len(pictured)))
        self.batches = [pictured[start : start + each] for start in range(0, len(pictured), each)]
        self._rng = np.random.default_rng(options.seed)
        self._done: list[Array] = []
        self._objective: Objective | None = None

    def _check_together(self) -> None:
        options = self.options
        given = [name for name in ("unit", "direction", "class_") if getattr(options, name) is not None]
        words = ", ".join(name.rstrip("_") for name in given) or "none"
        if len(given) != 1:
            raise Error(f"one of --unit, --direction and --class is accepted, got {words}")
        if (options.class_ is None) == (options.layer is None):
            raise Error("--layer goes with --unit or --direction, and not with --class")
        if not (options.unit or options.class_ or options.direction is not None):
            raise Error(f"{words}: at least one is needed, got none")
        yosinski = self.prior.regularisers is not None
        if yosinski and (self.prior.tv_weight or self.prior.alpha_weight):
            raise Error(f"tv-weight and alpha-weight go with --prior fourier and pixels, got {options.prior}")
        if yosinski and (self.prior.jitter or self.prior.zoom or self.prior.degrees):
            raise Error(f"jitter, stretch and turn go with --prior fourier and pixels, got {options.prior}")

    def _size(self) -> tuple[int, int]:
        own = native_size(self.network)
        return (self.options.size,) * 2 if self.options.size else own or (SIDE, SIDE)

    def _canvas(self) -> tuple[tuple[int, int], tuple[int, ...]]:
        """What the network is shown, and the shape of the tap there: larger than the picture if the network can."""
        wider = 2 * self.prior.pad - self.prior.jitter if self.prior.pad else 0
        if wider > 0:
            canvas = (self.size[0] + wider, self.size[1] + wider)
            try:
                return canvas, shape_of(self.network, self.tap, canvas)
            except Error:  # a network of one size: that of the picture itself must do, or says why not
                shape = shape_of(self.network, self.tap, self.size)
                self.notes.append(f"{self.network.name} takes pictures of one size: no padding around them")
                return self.size, shape
        return self.size, shape_of(self.network, self.tap, self.size)

    def _diversity_tap(self) -> str:
        """Textures have positions: the tap itself, else the deepest layer that does."""
        if len(self.shape) == 4 and np.prod(self.shape[2:]) > 1:
            return self.tap
        return self.network.layers.tensor(self.network.layers.style[-1]) if self.options.diversity > 1 else self.tap

    def _units(self) -> list[_Unit]:
        options, channels = self.options, self.shape[1]
        every = np.eye(channels, dtype=np.float32)
        if options.class_ is not None and self.logits is not None:
            chosen = [self.logits.index(wanted) for wanted in options.class_]
            common = np.float32(self._contrast() / channels)
            return [_Unit(self.logits.label(index), every[index] - common) for index in chosen]
        if options.direction is not None:
            return [_Unit("direction", direction(options.direction, channels, self.layer))]
        check_units(options.unit or (), channels, self.layer)
        return [_Unit(str(unit), every[unit]) for unit in options.unit or ()]

    def _contrast(self) -> float:
        """The prior's is for scores that end at 0; where they have no floor, more than 1 asks for less of all."""
        own = self.options.contrast is None and not last_relus(self.network.model.graph, self.tap)
        return min(self.prior.contrast, 1.0) if own else self.prior.contrast

    def _shares(self) -> Array | None:
        """One neuron's place among the positions, or None for the mean over all."""
        at = self.options.at
        if at is None:
            return None
        if len(self.shape) != 4:
            raise Error(f"at: layer {self.layer} has no rows and columns; it is accepted for a layer that has")
        rows, columns = self.shape[2:]
        row, column = (rows // 2, columns // 2) if at == "center" else _position(at)
        if row >= rows or column >= columns:
            raise Error(f"at: layer {self.layer} has {rows} rows and {columns} columns, from 0; got {row},{column}")
        share = np.zeros((rows, columns), np.float32)
        share[row, column] = 1
        return share.ravel()

    def stages(self) -> list[Callable[[Array | None], Stage]]:
        """One for each batch."""
        self._place = self._shares()
        return [partial(self._stage, number) for number in range(len(self.batches))]

    def _stage(self, number: int, before: Array | None) -> Stage:  # noqa: ARG002 -- the last picture, not the best
        self._keep()
        units, prior = self.batches[number], self.prior
        network = self._pass(self.model, len(units))
        optimiser = self._start(network)
        network.forward()  # once more than the driver does: how large the layer's values are
        size = float(np.sqrt(np.square(network.features[self.tap], dtype=np.float64).mean()))
        if not size:
            raise Error(f"layer {self.layer} of {self.network.name} is 0 everywhere for the first picture: it is dead")
        network = self._awake(network, units)
        self._objective = Objective(
            network, self._feature_terms(units, 1.0 if prior.regularisers else 1 / size), self._picture_terms(network)
        )
        return Stage(self._objective, optimiser, prior.iterations, clamp=not prior.fourier)

    def _pass(self, model: onnx.ModelProto, count: int) -> ViewedPass:
        prior, shape = self.prior, (count, 3, *self.size)
        taps = list(dict.fromkeys([self.tap, self.diversity_tap]))
        views = Samplings(prior.jitter, prior.zoom, prior.degrees)
        return ViewedPass(model, taps, shape, views, self._rng, canvas=self.canvas, **self.ways)

    def _awake(self, network: ViewedPass, units: list[_Unit]) -> ViewedPass:
        """The network after its first forward(), or one that leaks where a unit is 0 everywhere: see awake.py."""
        asleep = [
            unit.label
            for unit, features in zip(units, network.features[self.tap], strict=True)
            if not features[unit.direction > 0 if (unit.direction > 0).any() else unit.direction != 0].any()
        ]
        model = awakened(self.model, self.tap) if asleep else None
        if model is None:
            return network
        found = ", ".join(dict.fromkeys(asleep))
        self.notes.append(f"{self.layer}: {found}: 0 everywhere for the first picture; ReLUs leak {LEAK} for them")
        leaking = self._pass(model, len(units))
        leaking.picture[:] = network.picture
        return leaking

    def _start(self, network: ViewedPass) -> Optimiser:
        """Write the first pictures; returns what moves them."""
        prior, count = self.prior, len(network.picture)
        if prior.fourier:
            coefficients = FourierPicture(network.shape, self._rng)
            coefficients.render(network.picture)
            return FourierOptimiser(coefficients, Settings("adam", prior.rate))
        mean = mean_colour(self.network).reshape(1, 3, 1, 1)
        noise = self._rng.standard_normal(network.shape, np.float32)
        network.picture[:] = mean + noise * np.float32(10 / 255)
        if prior.regularisers is not None:
            chosen = prior.regularisers
            if self.options.learning_rate is not None:
                chosen = replace(chosen, rate=self.options.learning_rate)
            return RegularisedAscent(chosen, mean)
        return Adam(count, network.picture.size // count, Settings("adam", prior.rate))

    def _feature_terms(self, units: list[_Unit], scale: float) -> list[FeatureTerm]:
        directions = np.stack([unit.direction for unit in units])
        activation = losses.load("unit", "activation").Term(self.layer, self.tap, directions, self._place, scale)
        terms: list[FeatureTerm] = [activation]
        if self.options.diversity > 1 and self.options.diversity_weight:
            module = losses.load("unit", "diversity")
            many, weight = self.options.diversity, self.options.diversity_weight
            terms.append(module.Term(self.layer, self.diversity_tap, many, weight, activation.reached))
        return terms

    def _picture_terms(self, network: ViewedPass) -> list[PictureTerm]:
        terms: list[PictureTerm] = []
        if self.prior.tv_weight:
            by_sight = self.prior.by_sight and self.options.tv_weight is None
            seeing = (self.logits and self.logits.map) or self.tap
            times = inversion.tv_weight(self.network.model, seeing) if by_sight else 1.0
            terms.append(losses.load("picture", "tv").Term(network.shape, times * self.prior.tv_weight))
        if self.prior.alpha_weight:
            pixels = float(np.prod(network.shape[1:]))
            terms.append(losses.load("picture", "alpha-norm").Term(self.prior.alpha_weight / pixels))
        return terms

    def _keep(self) -> None:
        """The last pictures of a batch that is done: where the picture is moved at random, the lowest loss was luck."""
        if self._objective is not None:
            self._done += [pictures.from_batch(one[None]) for one in np.clip(self._objective.picture, 0, 1)]
            self._objective = None

    def result(self, outcome: Outcome) -> Maximized:
        """The pictures so far: one alone, or several as a sheet."""
        made = list(self._done)
        if self._objective is not None:
            made += [pictures.from_batch(one[None]) for one in np.clip(self._objective.picture, 0, 1)]
        notes = (*self.notes, *self._scores(made))
        labels = [unit.label for batch in self.batches for unit in batch][: len(made)]
        if self.prior.regularisers:  # as their program saves them: grey is the mean, the contrast each one's own
            made = [stretched(picture - mean_colour(self.network)) for picture in made]
        columns = self.options.columns or (
            self.options.diversity if self.options.diversity > 1 else int(np.ceil(np.sqrt(len(made))))
        )
        whole = made[0] if len(made) == 1 else sheet(made, columns, labels)
        return Maximized(whole, outcome.trace, notes=notes, pictures=tuple(made), labels=tuple(labels))

    def _scores(self, made: list[Array]) -> list[str]:
        """What the network says of the pictures of classes as they are."""
        units = [unit for batch in self.batches for unit in batch]
        if self.logits is None or len(made) < len(units):
            return []
        notes = []
        for picture, unit in zip(made, units, strict=True):
            index = int(unit.direction.argmax())
            values = features_of(self.model, [self.tap], pictures.to_batch(picture), **self.ways)[self.tap].ravel()
            rank = int((values > values[index]).sum()) + 1
            notes.append(
                f"class {unit.label}: score {values[index]:.1f}, number {rank} of {len(values)} for this picture"
            )
        return notes


def _position(at: Any) -> tuple[int, int]:
    """(row, column) of `3,4` or a pair."""
    parts = at.split(",") if isinstance(at, str) else list(at)
    if len(parts) != 2 or not all(str(part).strip().isdecimal() for part in parts):
        raise Error(f"at: center, or ROW,COLUMN, is accepted, got {at!r}")
    return int(parts[0]), int(parts[1])
