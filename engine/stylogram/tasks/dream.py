"""Dream: strengthen in a photograph what a layer sees in it (DeepDream: Mordvintsev, Olah and Tyka 2015).

x ← x + step · g / mean|g|,  g = d/dx ½‖F(x)‖²,  at several sizes ("octaves"), the smallest first. Only the detail,
what was added to the octave's own photograph, is carried up to the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from stylogram_export.network import folded
from stylogram_export.receptive import fields

from .. import losses, pictures
from ..ascent import NormalisedStep
from ..driver import Callback, MakeStage, Outcome, Stage, run
from ..errors import Error
from ..frames import Frame, Frames, check_film, write_film
from ..looking import Looking
from ..objective import FeatureTerm, Objective
from ..options import LayerWeights, NetworkOptions, Positive, checked
from ..result import Result
from ..session import Array, features_of
from ..transforms import Rolls, Sampling, ViewedPass
from ..units import Units, check_units

Picture = str | Path | NDArray[Any]

ARGUMENTS = {"image": False}
SIZE = 512


class Options(NetworkOptions):
    """What `dream` takes beside the picture. The defaults are those of DeepDream's notebook."""

    layer: LayerWeights | None = Field(
        None, title="A=2,B=1", description="layers, and weights; the deepest at the content layer's stride if not given"
    )
    channel: Units | None = Field(None, title="K,L-M", description="only these channels of the layer")
    guide: str | Path | np.ndarray | None = Field(
        None, title="FILE", description="a picture whose features the dream is drawn to"
    )
    octaves: int = Field(4, ge=1, le=20, title="N", description="how many sizes")
    octave_scale: float = Field(1.4, gt=1, le=4, title="X", description="from one size to the next")
    iterations: int = Field(10, ge=1, title="N", description="steps at each size")
    step: Positive = Field(1.5, le=255, title="X", description="mean change of a pixel in a step, of 255")
    jitter: int = Field(32, ge=0, le=1024, title="PIXELS", description="how far the picture is shifted for a step")
    zoom_frames: int = Field(
        0, ge=0, le=100000, title="N", description="zoom into the dream: N frames OUT-frame0001.png, ..."
    )
    zoom: float = Field(0.05, gt=0, lt=0.9, title="X", description="how much of the sides a frame cuts off")
    film: str | Path | None = Field(None, title="FILE", description="the frames as .mp4 or .gif")
    fps: float = Field(15.0, gt=0, le=240, title="X", description="frames a second of the film")


@dataclass(frozen=True)
class Dream(Result):
    """A Result; `frames` of the zoom: files, or arrays (H,W,3) uint8 where there was no output to put them beside."""

    frames: tuple[Frame, ...] = field(default=(), repr=False)


def dream(
    image: Picture, *, output: str | Path | None = None, callback: Callback | None = None, **options: Any
) -> Dream:
    """Dream on `image`, a path or an array (H,W,3) RGB; `options` are the fields of Options.

    With `zoom_frames` the result is the last frame, and each is written beside `output` as it is made. Raises Error
    for bad input; Diverged when the loss is no longer a number; Interrupted on Ctrl-C, with what there is as `.result`.
    """
    work = _Dreaming(image, checked(Options, options), output)
    return run(work.stages(), work.count, work.result, threads=work.threads, callback=callback)


def enlarged(detail: Array, size: tuple[int, int]) -> Array:
    """A detail (H,W,3), which has no range, resampled bilinearly to `size` (height, width)."""
    resampled = cv2.resize(detail, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resampled, np.float32)


class _Dreaming(Looking):
    """One call of dream: a stage for each octave of each frame."""

    def __init__(self, image: Picture, options: Options, output: str | Path | None) -> None:
        self.options = options
        if options.film is not None and not options.zoom_frames:
            raise Error("film: it is made of the frames of a zoom: --zoom-frames N is needed")
        if options.film is not None:
            check_film(options.film)
        self.image = pictures.read(image)
        height, width = self.image.rgb.shape[:2]
        size = options.size or min(max(height, width), SIZE)
        scales = [options.octave_scale**power for power in reversed(range(options.octaves))]
        try:
            self.sizes = [pictures.fitted(height, width, round(size / scale)) for scale in scales]
        except Error as problem:
            smallest = f"the smallest of {options.octaves} octaves at size {size} is too small"
            raise Error(f"octaves: {smallest}: {problem}") from problem
        self.guide = None if options.guide is None else pictures.read(options.guide).rgb
        super().__init__(options)
        self._choose()
        self.frames = Frames(output)
        self.count = len(self.sizes) * max(options.zoom_frames, 1)
        self.photograph = pictures.resized(self.image.rgb, self.sizes[-1])
        self._rng = np.random.default_rng(options.seed)
        self._passes: dict[tuple[int, int], ViewedPass] = {}
        self._base = self._detail = np.zeros(0, np.float32)
        self._objective: Objective | None = None

    def _choose(self) -> None:
        """The layers with their tensors and weights, and the channels."""
        layers = self.options.layer or {self._deepest(): 1.0}
        if not sum(layers.values()):
            raise Error(f"layer: at least one weight must be above 0, got {layers}")
        if self.options.channel is not None and (len(layers) > 1 or self.guide is not None):
            raise Error("channel: it is one of one layer, without a guide")
        self.layers = [(name, self.network.layers.tensor(name), weight) for name, weight in layers.items() if weight]
        self.tensors = list(dict.fromkeys(tensor for _, tensor, _ in self.layers))
        if len(self.tensors) < len(self.layers):
            raise Error(f"layer: {', '.join(name for name, _, _ in self.layers)}: two of them are the same layer")
        self.model = folded(self.network, self.tensors)

    def _deepest(self) -> str:
        """The last layer with the content layer's stride: deep enough for parts of things, fine enough to draw them."""
        own, seen = self.network.layers, fields(self.network.model)
        strides = {name: seen[tensor].stride for name, tensor in own.names.items()}
        wanted = seen[own.tensor(own.content[0])].stride
        return [name for name in own.names if strides[name] == wanted][-1]

    def stages(self) -> Iterator[MakeStage]:
        """One for each octave of each frame; after them the film."""
        for frame in range(max(self.options.zoom_frames, 1)):
            for octave in range(len(self.sizes)):
                yield partial(self._stage, frame, octave)
        self._finish()

    def _stage(self, frame: int, octave: int, before: Array | None) -> Stage:  # noqa: ARG002 -- the last, not the best
        size = self.sizes[octave]
        if octave == 0 and frame:
            self._next_frame()
        detail = np.zeros((*size, 3), np.float32) if octave == 0 else enlarged(self._picture() - self._base, size)
        self._base = pictures.resized(self.photograph, size)
        network = self._pass(size)
        network.picture[:] = pictures.to_batch(self._base + detail)
        self._objective = Objective(network, self._terms(network), [])
        return Stage(self._objective, NormalisedStep(self.options.step / 255), self.options.iterations, clamp=True)

    def _pass(self, size: tuple[int, int]) -> ViewedPass:
        """The network at one size; kept where there will be another frame."""
        if size not in self._passes:
            views = Rolls(self.options.jitter)
            made = ViewedPass(self.model, self.tensors, (1, 3, *size), views, self._rng, **self.ways)
            if not self.options.zoom_frames:
                self._passes.clear()
            self._passes[size] = made
        return self._passes[size]

    def _terms(self, network: ViewedPass) -> list[FeatureTerm]:
        terms: list[FeatureTerm] = []
        guide = {} if self.guide is None else self._guide(network.shape[2:])
        for name, tensor, weight in self.layers:
            shape = network.features[tensor].shape
            if len(shape) != 4:
                raise Error(f"layer {name} has no rows and columns, which a dream is drawn on; its shape is {shape}")
            scale = weight / float(np.prod(shape[1:]))  # a mean: layers of all sizes count alike
            if tensor in guide:
                terms.append(losses.load("unit", "guide").Term(name, tensor, guide[tensor], scale))
                continue
            if self.options.channel is not None:
                check_units(self.options.channel, shape[1], name, "channel")
            terms.append(losses.load("unit", "strength").Term(name, tensor, self.options.channel, scale))
        return terms

    def _guide(self, size: tuple[int, int]) -> dict[str, Array]:
        """The guide's features, at the octave's long side."""
        assert self.guide is not None, "asked for with a guide only"
        height, width = self.guide.shape[:2]
        fitted = pictures.resized(self.guide, pictures.fitted(height, width, max(size)))
        return features_of(self.model, self.tensors, pictures.to_batch(fitted), **self.ways)

    def _picture(self) -> Array:
        """The present picture (h,w,3): the last, since a dream has no best."""
        assert self._objective is not None, "asked for after the first stage only"
        return pictures.from_batch(self._objective.picture)

    def _next_frame(self) -> None:
        """Keep the frame, and zoom into it for the next."""
        last = self._picture()
        self.frames.add(last)
        size = self.sizes[-1]
        zoomed = np.empty((1, 3, *size), np.float32)
        Sampling(size, size, zoom=1 / (1 - self.options.zoom)).apply(pictures.to_batch(last), zoomed)
        self.photograph = pictures.from_batch(zoomed)

    def _finish(self) -> None:
        """The last frame, and the film of all."""
        if self.options.zoom_frames:
            self.frames.add(self._picture())
        if self.options.film is not None:
            write_film(self.options.film, self.frames, self.options.fps)

    def result(self, outcome: Outcome) -> Dream:
        """The dream so far, at the last octave's size; before the first frame's last octave it is enlarged."""
        size = self.sizes[-1]
        rgb = np.clip(self._picture(), 0, 1)
        if rgb.shape[:2] != size:
            rgb = np.clip(self.photograph + enlarged(rgb - self._base, size), 0, 1)
        alpha = None
        if self.image.alpha is not None and not self.options.zoom_frames:
            alpha = pictures.resized(self.image.alpha, size)
        notes, frames = tuple(self.notes), tuple(self.frames.made)
        return Dream(rgb, outcome.trace, alpha, self.image.depth, notes, frames=frames)
