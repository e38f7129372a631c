"""Filters of a network's first layer, as pictures, and what kind of layer it is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from stylogram_export.graph import array, attributes, constants
from stylogram_export.network import Network
from stylogram_export.preprocess import ORDERS

from .session import Array
from .sheets import sheet

CELL = 33  # the least side of a filter in the picture; whole numbers of pixels for each weight


@dataclass(frozen=True)
class FirstLayer:
    """`weights` (C,3,h,w) for RGB, and `stride` (rows, columns)."""

    weights: NDArray[np.float32]
    stride: tuple[int, int]

    @classmethod
    def of(cls, network: Network) -> "FirstLayer | None":
        """That of the first convolution of a picture's three channels; None for a network without one."""
        fixed = constants(network.model.graph)
        for node in network.model.graph.node:
            if node.op_type == "Conv" and node.input[1] in fixed and list(fixed[node.input[1]].dims)[1:2] == [3]:
                own = array(fixed[node.input[1]]).astype(np.float32)
                if own.ndim == 4:
                    weights = np.empty_like(own)
                    weights[:, ORDERS[network.preprocess.order]] = own
                    rows, columns = attributes(node).get("strides", [1, 1])
                    return cls(weights, (int(rows), int(columns)))
        return None

    @property
    def constant(self) -> bool:
        """Whether all filters are one and the same number: a file without trained weights."""
        return bool(np.ptp(self.weights) == 0)

    @property
    def label(self) -> str:
        """`96 of 11x11, stride 4`."""
        count, _, height, width = self.weights.shape
        stride = f"{self.stride[0]}" if self.stride[0] == self.stride[1] else f"{self.stride[0]}x{self.stride[1]}"
        return f"{count} of {height}x{width}, stride {stride}"

    def picture(self) -> Array:
        """All filters in a square, each with a contrast of its own: grey is 0."""
        largest = np.abs(self.weights).max(axis=(1, 2, 3), keepdims=True)
        shown = 0.5 + 0.5 * self.weights / np.where(largest > 0, largest, 1)
        times = max(1, -(-CELL // max(self.weights.shape[2:])))
        cells = [np.repeat(np.repeat(one.transpose(1, 2, 0), times, axis=0), times, axis=1) for one in shown]
        return sheet(cells, math.ceil(math.sqrt(len(cells))), gap=2)
