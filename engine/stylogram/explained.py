"""One class of one picture: what the tasks that explain a network's judgement start from."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from stylogram_export.network import folded

from . import pictures
from .errors import Error
from .looking import Looking
from .options import NetworkOptions
from .session import Array, FeaturePass
from .units import SIDE, Classes, Logits, native_size

Picture = str | Path | NDArray[Any]


class ClassOptions(NetworkOptions):
    """Which network, and which class of it."""

    class_: Classes | None = Field(
        None, title="K|NAME", description="the class, by number or name; the strongest if not given"
    )
    classes: str | Path | None = Field(
        None, title="FILE", description="names of the classes: a name a line, or JSON; the network's own if not given"
    )


class Explained(Looking):
    """A picture (`rgb`, (H,W,3)) and the class of it that is asked about: `index`, `label`, `score`, `probability`."""

    def __init__(self, image: Picture, options: ClassOptions) -> None:
        self.options = options
        if options.class_ is not None and len(options.class_) != 1:
            raise Error(f"class: one is accepted here, got {len(options.class_)}")
        read = pictures.read(image).rgb
        super().__init__(options)
        self.logits = Logits.of(self.network, options.classes)
        self.rgb = pictures.resized(read, self._size(*read.shape[:2]))
        wanted_tensors = [self.logits.tensor] + ([self.logits.map] if self.logits.map else [])
        self.model = folded(self.network, wanted_tensors)
        wanted = None if options.class_ is None else self.logits.index(options.class_[0])
        values = self._passed("gradient", self.logits.tensor)
        self.index = int(values.argmax()) if wanted is None else wanted
        self.label = self.logits.label(self.index)
        self.score = float(values[self.index])
        self.probability = float(probabilities(values[None])[0, self.index])

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """What was asked for, else the size that the network was made for, else a long side of SIDE."""
        if self.options.size is None and (own := native_size(self.network)):
            if own[0] * width != own[1] * height:
                self.notes.append(f"{self.network.name} takes {own[1]}x{own[0]}: the picture is brought to that shape")
            return own
        return pictures.fitted(height, width, self.options.size or SIDE)

    def _passed(self, rule: str, tap: str) -> Array:
        """The features at `tap`, flat; the pass is kept for the gradient of the same."""
        self._rule, self._tap = rule, tap
        self._pass = FeaturePass(self.model, [tap], (1, 3, *self.rgb.shape[:2]), relu=rule, **self.ways)
        self._pass.picture[:] = pictures.to_batch(self.rgb)
        self._pass.forward()
        values: Array = self._pass.features[tap].reshape(-1)
        return values

    def gradient(self, rule: str) -> Array:
        """d score / d x (H,W,3), by a rule of RELU_MODES; by `deconvnet` that of the class's strongest place."""
        tap = self.logits.map if rule == "deconvnet" and self.logits.map else self.logits.tensor
        if (self._rule, self._tap) != (rule, tap):
            self._passed(rule, tap)
        features = self._pass.features[tap].reshape(self.logits.count, -1)
        incoming = self._pass.gradients[tap].reshape(features.shape)
        incoming[:] = 0
        incoming[self.index, features[self.index].argmax()] = 1
        self._pass.backward()
        if not self._pass.gradient.any():
            self.notes.append(f"the {rule} map of class {self.label} is 0 everywhere")
        return pictures.from_batch(self._pass.gradient)


def probabilities(scores: Array) -> Array:
    """The softmax of scores (N,count), in float64."""
    wide = scores.astype(np.float64)
    raised = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
