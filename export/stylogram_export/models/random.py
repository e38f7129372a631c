"""`random`: a small VGG whose weights a seed makes. Nothing in it was ever trained: it stands in where no weights are.

Orthogonal filters (Saxe et al. 2014), then less their mean: what comes out of a ReLU is positive, so that a filter with
a mean sees brightness and little else, and style losses on such filters diverged where these converge. Average pooling.
Every filter is scaled to a mean activation of 1 on a fixed procedural picture, as Gatys et al. (2015) scaled VGG's on
photographs.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..preprocess import PREPROCESS
from . import vgg

COUNTS = (2, 2, 2, 2, 1)
WIDTHS = (32, 64, 128, 128, 128)
Array = NDArray[np.float64]


def initial(seed: int) -> dict[str, NDArray[np.float32]]:
    """The weights that `seed` makes."""
    tensors = {name: value.astype(np.float64) for name, value in vgg.initial(COUNTS, WIDTHS, seed).items()}
    features = PREPROCESS["imagenet"].apply(picture(96))
    stage = 1
    for name in vgg.convolutions(COUNTS):
        if int(name[4]) > stage:
            stage, features = int(name[4]), _pooled(features)
        weight = tensors[f"{name}.weight"]
        weight -= weight.mean((1, 2, 3), keepdims=True)
        active = np.maximum(_convolved(features, weight), 0)
        gain = 1 / np.maximum(active.mean((0, 2, 3)), 1e-3 * active.mean())  # a filter that never fires stays finite
        weight *= gain[:, None, None, None]
        features = active * gain[:, None, None]
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def picture(side: int) -> Array:
    """(1,3,side,side) in [0,1]: noise of amplitude 1/f like a photograph's, the same everywhere and always."""
    rng = np.random.Generator(np.random.PCG64(0))
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / side)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, side, side))) / frequency, (side, side))
    mixed = noise + 2 * noise.mean(0)  # colours of photographs go together
    spread = 0.25 * (mixed - mixed.mean((1, 2), keepdims=True)) / mixed.std((1, 2), keepdims=True)
    made: Array = np.clip(0.45 + spread, 0, 1)[None]
    return made


def _convolved(x: Array, weights: Array) -> Array:
    """3×3, padded with one zero: (N,I,H,W) -> (N,O,H,W)."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    made: Array = np.moveaxis(np.tensordot(windows, weights, ((1, 4, 5), (1, 2, 3))), -1, 1)
    return made


def _pooled(x: Array) -> Array:
    n, channels, height, width = x.shape
    made: Array = x.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))
    return made


_BASE = vgg.declare("random", COUNTS, WIDTHS, pools=len(COUNTS) - 1, pooling="avg")
_SUMMARY = "a small VGG with random weights made by a seed, never trained"
ARCHITECTURES = [
    replace(_BASE, summary=_SUMMARY, initial=initial, matches=None)  # no file holds it: a seed makes it
]
