"""L-BFGS as the papers and torch write it, in float64: the two-loop recursion, vector by vector, for one picture."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from kernels.checks import Doubles

BLOCK, CUDA_BLOCK = 2048, 1024  # numbers that have a power of two in common


def halves(vector: Doubles, size: int = BLOCK) -> Doubles:
    """What float16 keeps: of each block its largest number is between 2^14 and 2^15, and a subnormal half is 0."""
    kept = np.zeros_like(vector)
    for start in range(0, len(vector), size):
        block = vector[start : start + size].astype(np.float32).astype(np.float64)
        unit = 2.0 ** (np.frexp(np.abs(block).max())[1] - 15)
        scaled = (block / unit).astype(np.float16).astype(np.float64) * (np.abs(block / unit) >= 2.0**-14)
        kept[start : start + size] = scaled * unit
    return kept


@dataclass
class TwoLoop:
    """`kept`: how a vector of a pair is kept."""

    history: int
    learning_rate: float = 1.0
    curvature: float = 1e-10
    kept: Callable[[Doubles], Doubles] = np.copy
    pairs: list[tuple[Doubles, Doubles]] = field(default_factory=list)
    step_taken: Doubles | None = None
    gradient: Doubles | None = None

    def step(self, x: Doubles, gradient: Doubles) -> Doubles:
        """The next point."""
        if self.gradient is None or self.step_taken is None:
            length = min(1.0, 1.0 / np.abs(gradient).sum()) * self.learning_rate
        else:
            y, s = self.kept(gradient - self.gradient), self.kept(self.step_taken)
            if y @ s > self.curvature:
                self.pairs = [*self.pairs, (s, y)][-self.history :]
            length = self.learning_rate
        self.gradient = gradient.copy()
        self.step_taken = length * self.direction(gradient)
        return x + self.step_taken

    def direction(self, gradient: Doubles) -> Doubles:
        q, alphas = -gradient, []
        for s, y in reversed(self.pairs):
            alphas.append((s @ q) / (y @ s))
            q = q - alphas[-1] * y
        if self.pairs:
            s, y = self.pairs[-1]
            q = q * (y @ s) / (y @ y)
        for (s, y), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q = q + s * (alpha - (y @ q) / (y @ s))
        return q
