"""Masks: which part of the picture is painted from which part of which style (guided Gram matrices).

Gatys et al. 2017, "Controlling perceptual factors in neural style transfer", section 3: with a mask w on the positions,
G = F diag(w) Fᵀ / Σw. Masks are brought to every layer's size by area averaging.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pictures
from .errors import Error
from .session import Array

Source = str | Path | NDArray[Any]


@dataclass(frozen=True)
class Region:
    """A part of the picture, the styles' shares in it, and its weight among the regions. No mask: everywhere."""

    shares: tuple[float, ...]
    weight: float = 1.0
    content: Array | None = None
    style: Array | None = None

    def style_mask(self, size: Sequence[int]) -> Array | None:
        """The style's mask at the size (h,w) of a layer, as (h·w)."""
        return None if self.style is None else flattened(self.style, size)


def flattened(mask: Array, size: Sequence[int]) -> Array:
    """A mask (H,W) at the size (h,w) of a layer, as (h·w)."""
    return np.ascontiguousarray(pictures.resized(mask, (size[0], size[1])).reshape(-1))


@dataclass(frozen=True)
class Masks:
    """Pairs of masks (H,W) in [0,1]. As many pairs as styles, and more than one: the k-th pair takes the k-th style."""

    pairs: tuple[tuple[Array, Array], ...]
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls, given: Sequence[tuple[Source, Source]], content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
    ) -> "Masks":
        """Read the masks; those not of the size (H, W, ...) of their picture are resized, and a note says so."""
        count = len(styles)
        if len(given) > 1 and count > 1 and len(given) != count:
            raise Error(f"mask: with {count} styles, 1 or {count} pairs of masks are accepted, got {len(given)}")
        pairs, notes = [], []
        for number, sources in enumerate(given, 1):
            own = styles[number - 1] if len(given) == count else styles[0]
            masks = []
            for source, size, what in zip(sources, (content, own), ("content", "style"), strict=True):
                mask = _read(source, f"{what} mask {number}")
                if mask.shape != size[:2]:
                    got, wanted = f"{mask.shape[1]}x{mask.shape[0]}", f"{size[1]}x{size[0]}"
                    notes.append(f"{what} mask {number} is {got}, the {what} {wanted}: the mask is resized")
                masks.append(mask)
            pairs.append((masks[0], masks[1]))
        return cls(tuple(pairs), tuple(notes))

    def regions(self, shares: Sequence[float]) -> Iterator[Region]:
        """The regions, each with the shares of the styles that are painted there."""
        count = len(self.pairs)
        if not count:
            yield Region(tuple(shares))
        for number, (content, style) in enumerate(self.pairs):
            if count > 1 and len(shares) > 1:  # the k-th region takes the k-th style alone, by its share
                own = tuple(float(k == number) for k in range(len(shares)))
                if shares[number]:
                    yield Region(own, shares[number], content, style)
            else:
                yield Region(tuple(shares), 1 / count, content, style)


def _read(source: Source, what: str) -> Array:
    mask: Array = pictures.read(source).rgb.mean(axis=2, dtype=np.float32)
    if not mask.max() > 0:
        raise Error(f"{what} is black everywhere: it selects nothing; white is where to paint")
    return mask
