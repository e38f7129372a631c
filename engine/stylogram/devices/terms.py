"""Losses on a GPU: their arrays are moved there, and those of several pictures become one."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import Error
from .arrays import DeviceArray, Queue
from .features import DeviceFeatures


class DeviceTerm(Protocol):
    """A loss on the features at a tap, all arrays on the GPU: objective.FeatureTerm."""

    name: str
    tap: str

    def to(self, queue: Queue, features: DeviceFeatures) -> None:
        """Move what add() reads to the GPU, to the order in which the features at the tap lie."""

    def add(self, features: DeviceFeatures, gradient: DeviceFeatures, accumulate: bool, value: DeviceArray) -> None:
        """value (N) += the loss; gradient (N,C,h,w) = its derivative, or += when `accumulate`."""


class DevicePictureTerm(Protocol):
    """A loss on the picture itself: objective.PictureTerm."""

    name: str

    def to(self, queue: Queue) -> None:
        """Move what add() reads to the GPU."""

    def add(self, picture: DeviceArray, gradient: DeviceArray, value: DeviceArray) -> None:
        """value (N) += the loss; gradient (N,3,H,W) += its derivative."""


def moved(term: Any, queue: Queue, taps: Mapping[str, DeviceFeatures] = MappingProxyType({})) -> Any:
    """`term` on the GPU of `queue`; `taps`: what there is at each. Raises Error for a loss that has no kernel there."""
    if hasattr(term, "each"):  # one for each picture of a batch
        return _Batch(term.name, getattr(term, "tap", ""), _joined(term.each(), queue, taps))
    if not hasattr(term, "to"):
        raise Error(f"{term.name}: this loss has no kernel for a GPU; --device cpu is accepted")
    if hasattr(term, "tap"):
        term.to(queue, taps[term.tap])
    else:
        term.to(queue)
    return term


Placed = tuple[slice, Any]  # a term and the pictures that it is for


def _joined(each: Sequence[Sequence[Any]], queue: Queue, taps: Mapping[str, DeviceFeatures]) -> list[Placed]:
    """The terms of N pictures, each with a list of its own: one for all where they are alike, else one by one."""
    placed: list[Placed] = []
    alike = len({len(own) for own in each}) == 1
    for number in range(len(each[0])) if alike else ():
        column = [own[number] for own in each]
        join = getattr(column[0], "joined", None)
        whole = join(column) if join is not None else None
        if whole is None:
            placed += [(slice(at, at + 1), term) for at, term in enumerate(column)]
        else:
            placed.append((slice(0, len(column)), whole))
    if not alike:
        placed = [(slice(at, at + 1), term) for at, own in enumerate(each) for term in own]
    return [(place, moved(term, queue, taps)) for place, term in placed]


class _Batch:
    """Terms of a batch, each for some neighbouring pictures."""

    def __init__(self, name: str, tap: str, placed: Sequence[Placed]) -> None:
        self.name, self.tap = name, tap
        self._placed = placed

    def add(self, *arrays: Any) -> None:
        """As a DeviceTerm's, or as a DevicePictureTerm's."""
        if len(arrays) == 3:
            picture, gradient, value = arrays
            for place, term in self._placed:
                term.add(picture[place], gradient[place], value[place])
            return
        features, gradient, accumulate, value = arrays
        written: set[int] = set()
        for place, term in self._placed:
            pictures = set(range(place.start, place.stop))
            term.add(features[place], gradient[place], accumulate or bool(pictures & written), value[place])
            written |= pictures
