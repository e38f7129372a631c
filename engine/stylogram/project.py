"""Projections: what in a picture made a unit fire, carried back to the pixels (Zeiler and Fergus 2014, section 2.1).

One activation is kept and all others are zero; then the backward graph runs. Its rule for ReLUs is the difference:

    deconvnet   R = [R > 0] · R                  Zeiler and Fergus 2014
    gradient    R = [x > 0] · R                  Simonyan, Vedaldi and Zisserman 2014
    guided      R = [x > 0] · [R > 0] · R        Springenberg et al. 2015

Convolutions go back transposed, max-pools through their switches. Where pools overlap and share a maximum, what comes
from the windows sums; ties go to the first maximum of a window. No ReLU at the pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import onnx
from onnx import helper
from stylogram_export import Derivative, differentiate, winograd
from stylogram_export.network import Network, folded

from .session import Array, Buffer, flushing, open_session, output_shapes, uses_winograd

Rule = Literal["deconvnet", "guided", "gradient"]
BUDGET = 2**29  # bytes of activations and gradients at the layers, of all units in one backward pass
Tag = TypeVar("Tag")


@dataclass(frozen=True)
class Kept(Generic[Tag]):
    """One activation that is kept: of `unit`, at `place` of the layer's flattened positions; `tag` is the caller's."""

    tag: Tag
    unit: int
    place: int
    value: float


class Projector:
    """Projects units of one layer; many in one backward pass, of one picture or of several.

    A picture goes forward once, however many units it is looked at for; what backward needs of it is copied.
    """

    def __init__(
        self,
        network: Network,
        tensor: str,
        size: int,
        rule: Rule,
        most: int = 16,
        threads: int = 0,
        convolution: str | None = None,
    ) -> None:
        """`size`: pictures are (3,size,size); `most`: units in one pass, fewer where their activations are large."""
        model = folded(network, [tensor])

        def derivative(count: int) -> Derivative:
            made = differentiate(model, [tensor], (count, 3, size, size), rule)
            return winograd.rewrite(made) if uses_winograd(convolution) else made

        one = derivative(1)
        shapes = output_shapes(one.forward)
        self.slots = max(1, min(most, BUDGET // (8 * sum(int(np.prod(shape)) for shape in shapes.values()))))
        backward = derivative(self.slots).backward
        self._tensor, self._picture = tensor, one.forward.graph.input[0].name
        self._forward, self._backward = open_session(one.forward, threads), open_session(backward, threads)
        self._names = [value.name for value in one.forward.graph.output]
        # A tensor that mixes pictures and something else in its first axis has a run of rows for each picture.
        self._saved = {value.name: _zeros(value) for value in backward.graph.input}
        self._gradient: Array = self._saved.pop(f"gy:{tensor}")

    def run(self, looked: Iterable[tuple[Array, list[Kept[Tag]]]]) -> Iterator[tuple[Tag, Array]]:
        """For pictures (1,3,s,s), each with what is kept of it: the tags with their projections (3,s,s), in order."""
        tags: list[Tag] = []
        for picture, wanted in looked:
            made = self._features(picture)
            for kept in wanted:
                self._fill(len(tags), made, kept)
                tags.append(kept.tag)
                if len(tags) == self.slots:
                    yield from zip(tags, self._back(), strict=True)
                    tags = []
        if tags:
            yield from zip(tags, self._back(), strict=False)

    def _features(self, picture: Array) -> dict[str, Buffer]:
        """What backward needs of one picture."""
        if not self._saved:
            return {}
        wanted = [name for name in self._names if name in self._saved]
        with flushing():
            return dict(zip(wanted, self._forward.run(wanted, {self._picture: picture}), strict=True))

    def _fill(self, slot: int, made: dict[str, Buffer], kept: Kept[Tag]) -> None:
        for name, values in made.items():
            rows = len(values)
            self._saved[name][slot * rows : (slot + 1) * rows] = values
        flat = self._gradient[slot].reshape(self._gradient.shape[1], -1)
        flat[:] = 0
        flat[kept.unit, kept.place] = kept.value

    def _back(self) -> Array:
        with flushing():
            (gx,) = self._backward.run(["gx"], {**self._saved, f"gy:{self._tensor}": self._gradient})
        return np.asarray(gx, np.float32)


def _zeros(value: onnx.ValueInfoProto) -> Buffer:
    kind = value.type.tensor_type
    return np.zeros(tuple(d.dim_value for d in kind.shape.dim), helper.tensor_dtype_to_np_dtype(kind.elem_type))
