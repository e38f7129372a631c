"""DeviceFeatures: what a network on a GPU has at a tap, and the gradient there, in the form in which it has them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from stylogram_export.channels_last import FIRST, LAST

from ..session import Array
from .arrays import DeviceArray, Host, Queue


@dataclass(frozen=True)
class DeviceFeatures:
    """Features (N,C,h,w), or a gradient on them.

    `array` is float32, float16, or bfloat16 as its bits in uint16, and with `channels_last` (N,h,w,C); a 1 in it stands
    for `unit`.
    """

    array: DeviceArray
    channels_last: bool = False
    unit: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,C,h,w), however they lie."""
        shape = self.array.shape
        return tuple(shape[at] for at in FIRST) if self.channels_last else shape

    @property
    def queue(self) -> Queue:
        return self.array.queue

    @property
    def way(self) -> dict[str, Any]:
        """How they lie, in the words of the kernels."""
        return {"channels_last": self.channels_last, "unit": self.unit}

    @property
    def matrices(self) -> DeviceArray:
        """(N,C,P), or with the channels last (N,P,C)."""
        shape = self.array.shape
        between = (-1, shape[-1]) if self.channels_last else (shape[1], -1)
        return self.array.reshape(shape[0], *between)

    @property
    def rows(self) -> DeviceArray:
        """(N,M)."""
        return self.array.reshape(len(self), -1)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: slice) -> "DeviceFeatures":
        """A view of neighbouring pictures."""
        return replace(self, array=self.array[at])

    def arranged(self, values: Host) -> Host:
        """(N,M) of the host, channels first, in the order in which these lie."""
        if not self.channels_last:
            return values
        shape = len(values), *self.shape[1:]
        return np.ascontiguousarray(values.reshape(shape).transpose(LAST)).reshape(values.shape)

    def download(self) -> Array:
        """A copy on the host in float32, (N,C,h,w), after all work put in so far."""
        values = self.array.download()
        if values.dtype == np.uint16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        wide = values.astype(np.float32, copy=False)
        wide = wide if self.unit == 1 else wide * np.float32(self.unit)
        return np.ascontiguousarray(wide.transpose(FIRST)) if self.channels_last else wide
