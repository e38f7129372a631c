"""What the tasks that look into one network share: its threads and convolutions, and what is worth a note."""

from typing import Any

import numpy as np
from stylogram_export.network import Network

from . import zoo
from .filters import FirstLayer
from .options import NetworkOptions
from .session import Array, available_threads, uses_winograd


class Looking:
    """A network that is looked into with `options`: `network`, `threads`, `notes` for the user, and
    `ways`: threads and convolution, as a FeaturePass takes them."""

    def __init__(self, options: NetworkOptions) -> None:
        self.notes: list[str] = []
        self.threads = min(options.threads or available_threads(), available_threads())
        if options.threads > self.threads:
            self.notes.append(f"--threads {options.threads}: {self.threads} are used, as many as there are processors")
        uses_winograd(options.convolution)  # what cannot be is said before anything is read
        self.ways: dict[str, Any] = {"threads": self.threads, "convolution": options.convolution}
        self.network = zoo.resolve(options.network, options.preprocess, options.pooling, options.seed)
        if self.network.assumed_preprocess:
            self.notes.append(f"{self.network.name} does not say its preprocessing: imagenet is assumed (--preprocess)")
        first = FirstLayer.of(self.network)
        if first is not None and first.constant:
            self.notes.append(f"{self.network.name}: all weights of its first layer are equal: the file is not trained")


def mean_colour(network: Network) -> Array:
    """The RGB (3) in [0,1] that the network's preprocessing makes zero; grey where it subtracts nothing."""
    mean = np.array(network.preprocess.mean, np.float32) / np.float32(network.preprocess.scale)
    if not mean.any():
        return np.full(3, 0.5, np.float32)
    return mean[::-1].copy() if network.preprocess.order == "BGR" else mean
