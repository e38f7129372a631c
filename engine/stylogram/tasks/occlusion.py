"""Occlusion: how a class's score falls as a grey square slides over the picture (Zeiler and Fergus 2014, section 4).

The heat at a pixel is score(picture) - score(the square's middle there), bilinear between the places tried.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from .. import pictures
from ..driver import Callback, Progress
from ..errors import Error
from ..explained import ClassOptions, Explained, Picture, probabilities
from ..options import checked
from ..result import Result
from ..session import Array, FeaturePass
from ..units import together

ARGUMENTS = {"image": False}
WHOLE = 4.5  # the picture's side over the square's: 50 pixels of 224, as in the paper


class Options(ClassOptions):
    """What `occlusion` takes beside the picture."""

    square: int | None = Field(
        None, ge=1, title="PIXELS", description="side of the square; the short side over 4.5 if not given"
    )
    stride: int | None = Field(
        None, ge=1, title="PIXELS", description="from one place to the next; a quarter of the square if not given"
    )
    score: Literal["probability", "logit"] = Field("probability", description="what is measured")
    grey: float = Field(0.5, ge=0, le=1, title="X", description="the square's brightness")
    batch: int = Field(8, ge=1, le=1024, title="N", description="pictures that go through the network together")
    opacity: float = Field(0.6, ge=0, le=1, title="X", description="of the heat over the picture")


@dataclass(frozen=True)
class Occlusion(Result):
    """A Result; `scores` (rows,columns) with the square at each place, `whole` without it; `rows` and `columns`: the
    square's middles in pixels; `heat` (H,W): whole - scores at every pixel; `label` of the class."""

    scores: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    rows: Array = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    columns: Array = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    heat: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    whole: float = 0.0
    label: str = ""


def occlusion(image: Picture, *, callback: Callback | None = None, **options: Any) -> Occlusion:
    """The heat map of one class for `image`, a path or an array (H,W,3) RGB; `options` are the fields of Options.

    `callback` is given a Progress after every batch, its loss minus the lowest score so far. Raises Error for bad
    input, and where the class has no score to lose.
    """
    work = _Occluding(image, checked(Options, options))
    return work.run(callback)


class _Occluding:
    """One call of occlusion: the picture, the square's places, and the network on a batch of them."""

    def __init__(self, image: Picture, options: Options) -> None:
        self.options = options
        self.looked = Explained(image, options)
        height, width = self.looked.rgb.shape[:2]
        self.square = options.square or max(round(min(height, width) / WHOLE), 1)
        if self.square >= max(height, width):
            raise Error(
                f"square: a side under {max(height, width)} is accepted for {width}x{height}, got {self.square}"
            )
        self.stride = options.stride or max(self.square // 4, 1)
        self.rows, self.columns = (_middles(side, self.stride) for side in (height, width))
        self.places = [(row, column) for row in self.rows for column in self.columns]
        tensor = self.looked.logits.tensor
        count = together(self.looked.network, tensor, (height, width), min(options.batch, len(self.places)))
        shape = (count, 3, height, width)
        self.network = FeaturePass(self.looked.model, [tensor], shape, **self.looked.ways)
        self.trace: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def run(self, callback: Callback | None) -> Occlusion:
        """Every place in batches."""
        whole = self.looked.probability if self.options.score == "probability" else self.looked.score
        found: list[float] = []
        batches = -(-len(self.places) // len(self.network.picture))
        for number, places in enumerate(self._batches(), 1):
            found += self._scores(places)
            self._report(callback, number, batches, found, whole)
        scores = np.array(found, np.float32).reshape(len(self.rows), len(self.columns))
        return self._result(scores, whole)

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        count = len(self.network.picture)
        for start in range(0, len(self.places), count):
            yield self.places[start : start + count]

    def _scores(self, places: list[tuple[int, int]]) -> list[float]:
        """The class's score with the square at each place; the last batch may leave pictures as they were."""
        batch = self.network.picture
        batch[:] = pictures.to_batch(self.looked.rgb)
        for picture, (row, column) in zip(batch, places, strict=False):
            top, left = row - self.square // 2, column - self.square // 2
            picture[:, max(top, 0) : top + self.square, max(left, 0) : left + self.square] = self.options.grey
        self.network.forward()
        values = self.network.features[self.looked.logits.tensor].reshape(len(batch), -1)
        if self.options.score == "probability":
            values = probabilities(values).astype(np.float32)
        return [float(value) for value in values[: len(places), self.looked.index]]

    def _report(self, callback: Callback | None, number: int, batches: int, found: list[float], whole: float) -> None:
        progress = Progress(
            scale=1,
            scales=1,
            iteration=number,
            iterations=batches,
            seconds=time.perf_counter() - self._started,
            loss=-min(found),
            terms={self.options.score: -min(found)},
            pixel_range=1.0,
            margin=0,
            picture=self.network.picture.copy,
            result=lambda: self._result(self._so_far(found, whole), whole),
        )
        self.trace.append(progress.row())
        if callback is not None:
            callback(progress)

    def _so_far(self, found: list[float], whole: float) -> Array:
        """The scores with those of the places to come as if nothing were hidden there."""
        every = np.full(len(self.places), whole, np.float32)
        every[: len(found)] = found
        return every.reshape(len(self.rows), len(self.columns))

    def _result(self, scores: Array, whole: float) -> Occlusion:
        heat = _between(whole - scores, self.rows, self.columns, self.looked.rgb.shape[:2])
        note = (
            f"class {self.looked.label}: {self.options.score} {whole:.3g}, with the square from {scores.min():.3g} to "
            f"{scores.max():.3g}"
        )
        return Occlusion(
            overlaid(self.looked.rgb, heat, self.options.opacity),
            list(self.trace),
            notes=(*self.looked.notes, note),
            scores=scores,
            rows=np.array(self.rows, np.float32),
            columns=np.array(self.columns, np.float32),
            heat=heat,
            whole=whole,
            label=self.looked.label,
        )


def _middles(side: int, stride: int) -> list[int]:
    """Where the square's middle lies along one side: `stride` apart, as far from one end as from the other."""
    count = max((side - 1) // stride + 1, 1)
    first = (side - 1 - (count - 1) * stride) // 2
    return [first + number * stride for number in range(count)]


def _between(values: Array, rows: list[int], columns: list[int], size: tuple[int, int]) -> Array:
    """Values (rows,columns) at these pixels as (H,W): bilinear between them, the nearest beyond the outermost."""
    along = np.array([np.interp(np.arange(size[1]), columns, row) for row in values])
    return np.array([np.interp(np.arange(size[0]), rows, column) for column in along.T], np.float32).T.copy()


def overlaid(rgb: Array, heat: Array, opacity: float) -> Array:
    """The heat (H,W) in colours over the grey picture (H,W,3): blue for none or a rise, red for the largest fall."""
    largest = float(heat.max())
    share = np.clip(heat / largest, 0, 1) if largest > 0 else np.zeros_like(heat)
    colours = cv2.applyColorMap(pictures.to_uint8(share), cv2.COLORMAP_TURBO)[..., ::-1].astype(np.float32) / 255
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray((1 - opacity) * grey[..., None] + opacity * colours, np.float32)
