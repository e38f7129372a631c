"""Colour that stays: the content's colours in the stylised picture.

Gatys, Bethge, Hertzmann, Shechtman (2016), "Preserving color in neural artistic style transfer": either the style gets
the content's colours before the optimisation (`match_histogram`, `match_linear`), or the content's colours are put
back afterwards and only the luminance stays stylised (`keep_luminance`). Pictures are RGB (H, W, 3) in [0, 1].
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# Y of YIQ (FCC, 1953). Grey is (1, 1, 1) Y, so a change of Y alone adds the same to R, G and B.
LUMA = np.array([0.299, 0.587, 0.114])
# Variance of one step of 8 bits. What varies less is the rounding of the file: stretching it would make coloured noise.
NOISE = (1 / 255) ** 2


def luma(rgb: Array) -> npt.NDArray[np.float64]:
    """Y = 0.299 R + 0.587 G + 0.114 B: (H, W, 3) -> (H, W), float64."""
    y: npt.NDArray[np.float64] = np.asarray(rgb, np.float64) @ LUMA
    return y


def keep_luminance(result: Array, content: Array) -> Floats:
    """Y of `result` with I and Q of `content`: content + (Y_result - Y_content) in R, G and B.

    Where that leaves [0, 1], the colour is pulled to grey just as far as needed, so that Y is `result`'s everywhere and
    the hue is the content's; Gatys et al. do not say what they do there, and clipping would change both.

    Args:
        result, content: RGB (H, W, 3) in [0, 1], the same size.
    """
    y = np.clip(luma(result), 0, 1)[..., None]
    chroma = np.asarray(content, np.float64) - luma(content)[..., None]
    # y + t chroma in [0, 1] for the largest t <= 1, channel by channel; the least of the three serves all.
    room = np.where(chroma > 0, 1 - y, y)
    reach = np.abs(chroma)
    t = np.divide(room, reach, out=np.ones_like(room), where=reach > room).min(axis=-1, keepdims=True)
    kept: Array = np.clip(y + t * chroma, 0, 1)
    return kept.astype(np.float32)


def match_histogram(source: Array, reference: Array) -> Floats:
    """`source` with the distribution of `reference`, channel by channel: x -> F_reference^-1(F_source(x)).

    F counts half of the equal values (mid-ranks), F^-1 interpolates between the sorted values at (i + 1/2)/n; so
    pictures of one size without ties exchange sorted values exactly, and equal values stay equal.

    Args:
        source, reference: (H, W, C) of any two sizes.
    """
    channels = [
        _matched(np.asarray(source)[..., c], np.asarray(reference)[..., c]) for c in range(np.shape(source)[-1])
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def match_linear(source: Array, reference: Array) -> Floats:
    """`source` with mean and covariance of `reference`: x -> A (x - mu_s) + mu_r, A = S_r^1/2 S_s^-1/2.

    Of the two transforms of Gatys et al. (2016) the one of "Image Analogies" (Hertzmann et al., 2001): symmetric roots
    do not depend on the order of the channels, as Cholesky's factors do. Directions in which the source does not vary
    beyond the steps of 8 bits have no inverse and stay flat: a grey source keeps one axis of variation, with the
    reference's mean. The result may leave [0, 1].

    Args:
        source, reference: RGB (H, W, 3) of any two sizes.
    """
    pixels = np.asarray(source, np.float64).reshape(-1, 3)
    mean, covariance = _moments(pixels)
    goal_mean, goal_covariance = _moments(np.asarray(reference, np.float64).reshape(-1, 3))
    spectrum, axes = np.linalg.eigh(covariance)
    inverse = np.where(spectrum > NOISE, 1 / np.sqrt(np.maximum(spectrum, NOISE)), 0)
    a = _root(goal_covariance) @ (axes * inverse) @ axes.T
    matched: Array = (pixels - mean) @ a.T + goal_mean
    return matched.reshape(np.shape(source)).astype(np.float32)


def _matched(source: Array, reference: Array) -> Array:
    """One channel of `match_histogram`."""
    values, counts = np.unique(source, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / source.size
    goal = np.sort(reference, axis=None)
    matched = np.interp(ranks, (np.arange(goal.size) + 0.5) / goal.size, goal)
    return np.asarray(np.interp(source, values, matched))


def _moments(pixels: Array) -> tuple[Array, Array]:
    """Mean (3,) and covariance (3, 3) of (P, 3)."""
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    return mean, centred.T @ centred / len(pixels)


def _root(covariance: Array) -> Array:
    """The symmetric square root of a positive semi-definite matrix."""
    spectrum, axes = np.linalg.eigh(covariance)
    root: Array = (axes * np.sqrt(np.maximum(spectrum, 0))) @ axes.T
    return root
