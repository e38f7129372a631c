"""What a Resize node does along each of its axes, read off its attributes and inputs."""

from typing import Any

import numpy as np

from .graph import Array
from .resampling import Resampling, matrix
from .step import Step

FLAGS = {"mode": "mode", "coordinate_transformation_mode": "coordinates", "nearest_mode": "nearest"}


class Sampling:
    """A Resize node. A `position` counts through `axes`, the ones that the node lists."""

    def __init__(self, step: Step) -> None:
        rank = len(step.shape())
        self.step = step
        self.axes = [axis % rank for axis in step.attribute("axes", range(rank))]
        words: dict[str, Any] = {ours: step.attribute(name) for name, ours in FLAGS.items() if name in step.stated}
        self.how = Resampling(
            cubic=step.attribute("cubic_coeff_a", -0.75),
            exclude_outside=bool(step.attribute("exclude_outside", 0)),
            antialias=bool(step.attribute("antialias", 0)),
            **words,
        )

    def scales(self) -> list[float]:
        """Output over input along each axis, as the node states it or as its sizes and policy imply."""
        step = self.step
        if step.has(2) and step.constant(2).size:
            return [float(scale) for scale in step.constant(2)]
        sizes = step.constant(3).tolist()
        found = [size / step.size(axis) for axis, size in zip(self.axes, sizes, strict=True)]
        policy = step.attribute("keep_aspect_ratio_policy", "stretch")
        if policy == "stretch":
            return found
        return [min(found) if policy == "not_larger" else max(found)] * len(found)

    def still(self, position: int) -> bool:
        """Whether nothing happens along an axis."""
        axis = self.axes[position]
        before, after = self.step.shape()[axis], self.step.shape_y()[axis]
        if self.how.coordinates == "tf_crop_and_resize":
            return False
        return before == after if before is not None else self.scales()[position] == 1

    def matrix(self, position: int, size: int) -> Array:
        """The weights along an axis of `size`, (output, input)."""
        step, axis, scale = self.step, self.axes[position], self.scales()[position]
        made = step.shape_y()[axis] if step.shape()[axis] is not None else int(size * scale)
        stated = step.has(1) and step.constant(1).size
        region = step.constant(1).tolist() if stated else [0.0] * len(self.axes) + [1.0] * len(self.axes)
        return matrix(self.how, size, made or 0, scale, (region[position], region[position + len(self.axes)]))

    def blocks(self) -> list[int] | None:
        """How many times the rows and columns of a picture are repeated, if that is all that happens."""
        shape = self.step.shape()
        if self.how.mode != "nearest" or len(shape) != 4 or shape[1] is None:
            return None
        found = [1, 1]
        for position, axis in enumerate(self.axes):
            if self.still(position):
                continue
            times, size = round(self.scales()[position]), shape[axis]
            if axis < 2 or times < 1:
                return None
            for trial in [size] if size is not None else [7, 8]:  # what holds for these holds for every size
                if not np.array_equal(self.matrix(position, trial), np.repeat(np.eye(trial), times, axis=0)):
                    return None
            found[axis - 2] = times
        return found
