"""What the tasks that look into one network share: its threads, what is worth a note, and the stages of a run."""

import numpy as np
from stylogram_export.network import Network

from . import zoo
from .options import NetworkOptions
from .session import Array, available_threads


class Looking:
    """A network that is looked into with `options`: `network`, `threads`, and `notes` for the user."""

    def __init__(self, options: NetworkOptions) -> None:
        self.notes: list[str] = []
        self.threads = min(options.threads or available_threads(), available_threads())
        if options.threads > self.threads:
            self.notes.append(f"--threads {options.threads}: {self.threads} are used, as many as there are processors")
        self.network = zoo.resolve(options.network, options.preprocess, options.pooling, options.seed)
        if self.network.assumed_preprocess:
            self.notes.append(f"{self.network.name} does not say its preprocessing: imagenet is assumed (--preprocess)")


def mean_colour(network: Network) -> Array:
    """The RGB (3) in [0,1] that the network's preprocessing makes zero; grey where it subtracts nothing."""
    mean = np.array(network.preprocess.mean, np.float32) / np.float32(network.preprocess.scale)
    if not mean.any():
        return np.full(3, 0.5, np.float32)
    return mean[::-1].copy() if network.preprocess.order == "BGR" else mean
