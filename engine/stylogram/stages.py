"""StagedPass: a FeaturePass that holds the gradient of one tap at a time, in memory that features have left."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper
from stylogram_export import differentiate
from stylogram_export.stages import Staged, staged

from .session import (
    Array,
    Bound,
    Buffer,
    ForwardPass,
    Shape,
    aligned,
    convolves,
    give_back,
    reserve,
    uses_winograd,
)

LINE = 64  # bytes of a cache line: where arrays begin
BLOCKS = 3  # of the largest array: what lies between two layers


@dataclass
class _Life:
    """An array, and from when to when it is needed, both included."""

    shape: tuple[int, ...]
    kind: np.dtype
    begin: int
    end: int

    @property
    def size(self) -> int:
        return -(-math.prod(self.shape) * self.kind.itemsize // LINE) * LINE


def _lives(made: Staged) -> dict[str, _Life]:
    """Of everything that goes from one model to another.

    The parts of forward and the stages run one after the other, at even times; before a stage, at the odd one, the
    losses read the features and write the gradients at its taps.
    """
    own = {made.forward[0].graph.input[0].name, "gx"}
    lives: dict[str, _Life] = {}
    for at, model in enumerate([*made.forward, *(stage.model for stage in made.stages)]):
        due = made.stages[at - len(made.forward)].taps if at >= len(made.forward) else ()
        for tap in due:
            lives[tap].end = 2 * at - 1
            lives[f"gy:{tap}"] = _Life(lives[tap].shape, lives[tap].kind, 2 * at - 1, 2 * at - 1)
        for value in model.graph.input:
            if value.name not in own:
                lives[value.name].end = 2 * at
        for value in model.graph.output:
            if value.name not in own:
                lives[value.name] = _life(value, 2 * at)
    return lives


def _life(value: onnx.ValueInfoProto, at: int) -> _Life:
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return _Life(tuple(d.dim_value for d in value.type.tensor_type.shape.dim), np.dtype(kind), at, at)


def _places(lives: Mapping[str, _Life]) -> dict[str, int]:
    """Where each begins in one block of memory: the largest first, each as low as those that live meanwhile allow.

    "Greedy by size" of Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020).
    """
    placed: list[tuple[int, int, _Life]] = []
    places = {}
    for name, life in sorted(lives.items(), key=lambda item: -item[1].size):
        at = 0
        for begin, end, other in sorted(placed, key=lambda one: one[:2]):
            apart = other.end < life.begin or life.end < other.begin
            if not apart and begin < at + life.size and at < end:
                at = end
        places[name] = at
        placed.append((at, at + life.size, life))
    return places


def _arrays(lives: Mapping[str, _Life]) -> dict[str, Buffer]:
    places = _places(lives)
    block = aligned((max(places[name] + life.size for name, life in lives.items()),), np.uint8)
    return {
        name: block[places[name] :][: math.prod(life.shape) * life.kind.itemsize].view(life.kind).reshape(life.shape)
        for name, life in lives.items()
    }


def _staged(model: onnx.ModelProto, taps: Sequence[str], shape: Shape, convolution: str | None) -> Staged:
    ours = uses_winograd(convolution)  # first: what cannot be is said before anything is computed
    return staged(differentiate(model, list(taps), shape), ours)


def pass_bytes(
    model: onnx.ModelProto, taps: Sequence[str], shape: Shape, convolution: str | None = None
) -> tuple[int, int]:
    """What a StagedPass takes beside its weights, and the features at the taps alone: bytes.

    Its arrays, and some of the largest for what lies between two layers.
    """
    made = _staged(model, taps, shape, convolution)
    lives = _lives(made)
    places = _places(lives)
    block = max(places[name] + life.size for name, life in lives.items())
    largest = max(life.size for life in lives.values())
    return block + 2 * 4 * math.prod(shape) + BLOCKS * largest, sum(lives[tap].size for tap in taps)


class StagedPass(ForwardPass):
    """Features of N pictures at some taps, and the gradient on the pictures from gradients at the taps, tap by tap.

    `picture` (N,3,H,W) is what forward() reads and `features[tap]` (N,C,h,w) what it writes. Then

        for due in network.descend():
            for tap in due:
                ...  # write network.gradients[tap]

    leaves the gradient (N,3,H,W) in `gradient`. The deepest taps are due first. An array is what it says only as long
    as it is needed: features[tap] until its gradient has been written, gradients[tap] until the next is due.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        taps: Sequence[str],
        shape: Shape,
        *,
        threads: int = 0,
        convolution: str | None = None,
    ) -> None:
        made = _staged(model, taps, shape, convolution)
        arrays = _arrays(_lives(made))
        self.taps = tuple(taps)
        self.shape = shape
        self.picture: Array = aligned(shape)
        self.gradient: Array = aligned(shape)
        self.features: dict[str, Array] = {tap: arrays[tap] for tap in taps}
        self.gradients: dict[str, Array] = {tap: arrays[f"gy:{tap}"] for tap in taps}
        self._due = [stage.taps for stage in made.stages]
        arrays |= {made.forward[0].graph.input[0].name: self.picture, "gx": self.gradient}
        # Each graph goes as soon as its session is there: together they would be the peak.
        forward, stages = list(made.forward), [stage.model for stage in made.stages]
        theirs = any(convolves(model) for model in [*forward, *stages])
        largest = max(array.size for array in arrays.values()) if theirs else 0
        del made
        give_back()
        self._forward = [Bound(forward.pop(0), arrays, threads) for _ in range(len(forward))]
        give_back()
        self._stages = [Bound(stages.pop(0), arrays, threads) for _ in range(len(stages))]
        give_back()
        if largest:
            reserve(largest)

    def descend(self) -> Iterator[tuple[str, ...]]:
        """The taps whose gradients are due, and what follows from these once they are written, by turns.

        The last forward() must have been of the same picture.
        """
        for due, stage in zip(self._due, self._stages, strict=True):
            if due:
                yield due
            stage.run()
