"""Result: the picture that a task made and how it came about."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pictures
from .session import Array


@dataclass(frozen=True)
class Result:
    """`exact` (H,W,3) float32 RGB in [0,1]; `alpha` (H,W) or None, the content's; `trace` the rows of --trace.

    `notes` says in a line each what the program decided that a user may want to know.

    The losses of the trace are those of the picture while it is optimised: with its margin, in floats that are not held
    to [0,1]. The picture here is that of the lowest loss at the last scale, which need not be the last row's, and it is
    changed after its loss was taken: the margin is cut off, it is clipped to [0,1], and with keep_colors="luminance" it
    gets the content's colours; a file is rounded to its bits. So its own loss is another one.
    """

    exact: Array = field(repr=False)
    trace: list[dict[str, Any]] = field(repr=False)
    alpha: Array | None = field(default=None, repr=False)
    depth: int = 8
    notes: tuple[str, ...] = ()

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture (H,W,3), RGB, 0 to 255."""
        return pictures.to_uint8(self.exact)

    @property
    def loss(self) -> float:
        """The lowest loss at the last scale: that of this picture before it was clipped, see above."""
        last = max((row["scale"] for row in self.trace), default=0)
        return min((row["loss"] for row in self.trace if row["scale"] == last), default=float("nan"))

    def save(self, path: str | Path) -> None:
        """Write the picture: the format by the suffix, 16 bits where the content had them, alpha where it fits."""
        pictures.write(path, self.exact, alpha=self.alpha, depth=self.depth)

    def _repr_png_(self) -> bytes:
        """How Jupyter shows it: https://ipython.readthedocs.io/en/stable/config/integrating.html."""
        return pictures.encoded("result.png", self.exact, alpha=self.alpha)
