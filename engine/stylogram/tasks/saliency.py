"""Saliency: which pixels of one picture a class's score hangs on, as the gradient, guided and deconvnet maps.

S = d score / d x by the rule for ReLUs: `gradient` (Simonyan, Vedaldi and Zisserman 2014, section 3), `guided`
(Springenberg et al. 2015), `deconvnet` (Zeiler and Fergus 2014). A deconvnet projects one activation, all others zero:
where the score is the mean of a map of the class, that is the map's strongest place. Spread over the whole map, the
rule's ReLUs can cut everything off: on SqueezeNet nothing arrives.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field
from stylogram_export.rules import RELU_MODES

from ..driver import Callback
from ..explained import ClassOptions, Explained, Picture
from ..options import checked
from ..result import Result
from ..session import Array
from ..sheets import sheet

ARGUMENTS = {"image": False}
BRIGHTEST = 99.5  # the percentile that is shown at full brightness: a few pixels stand out by far


class Options(ClassOptions):
    """What `saliency` takes beside the picture."""

    rule: Literal["gradient", "guided", "deconvnet"] | None = Field(
        None, description="one map alone; photograph and all three side by side if not given"
    )


@dataclass(frozen=True)
class Saliency(Result):
    """A Result; `maps` by rule: the gradients (H,W,3) of the score as they are, `score` and `label` of the class."""

    maps: dict[str, Array] = field(default_factory=dict, repr=False)
    score: float = 0.0
    label: str = ""


def saliency(image: Picture, *, callback: Callback | None = None, **options: Any) -> Saliency:  # noqa: ARG001
    """The maps of one class for `image`, a path or an array (H,W,3) RGB; `options` are the fields of Options.

    Nothing is iterated, so `callback` is never called. The gradient is shown as its magnitude, the largest of the three
    colours; guided and deconvnet maps in colour around grey, as their papers do. Raises Error for bad input.
    """
    started = time.perf_counter()
    chosen = checked(Options, options)
    looked = Explained(image, chosen)
    rules = [chosen.rule] if chosen.rule else list(RELU_MODES)
    maps = {rule: looked.gradient(rule) for rule in rules}
    shown = {rule: displayed(map_, rule) for rule, map_ in maps.items()}
    whole = next(iter(shown.values())) if len(maps) == 1 else _side_by_side(looked, shown)
    seconds = round(time.perf_counter() - started, 4)
    row = {"scale": 1, "iteration": 0, "seconds": seconds, "loss": -looked.score, "terms": {"score": -looked.score}}
    notes = (*looked.notes, f"class {looked.label}: score {looked.score:.2f}, probability {looked.probability:.3f}")
    return Saliency(whole, [row], notes=notes, maps=maps, score=looked.score, label=looked.label)


def _side_by_side(looked: Explained, shown: dict[str, Array]) -> Array:
    return sheet([looked.rgb, *shown.values()], len(shown) + 1, [f"class {looked.label}", *shown])


def displayed(gradient: Array, rule: str) -> Array:
    """A map (H,W,3) as a picture in [0,1]: for `gradient` max over colours of |S|, else S around grey."""
    size = np.abs(gradient).max(axis=2)
    brightest = max(float(np.percentile(size, BRIGHTEST)), 1e-30)
    if rule == "gradient":
        return np.repeat(np.clip(size / brightest, 0, 1)[..., None], 3, axis=2).astype(np.float32)
    around: Array = np.clip(0.5 + 0.5 * gradient / brightest, 0, 1).astype(np.float32)
    return around
