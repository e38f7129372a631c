"""L-BFGS as the papers and torch write it, in float64: the two-loop recursion, vector by vector, for one picture."""

from dataclasses import dataclass, field

import numpy as np
from kernels.checks import Doubles


@dataclass
class TwoLoop:
    history: int
    learning_rate: float = 1.0
    pairs: list[tuple[Doubles, Doubles]] = field(default_factory=list)
    step_taken: Doubles | None = None
    gradient: Doubles | None = None

    def step(self, x: Doubles, gradient: Doubles) -> Doubles:
        """The next point."""
        if self.gradient is None or self.step_taken is None:
            length = min(1.0, 1.0 / np.abs(gradient).sum()) * self.learning_rate
        else:
            y, s = gradient - self.gradient, self.step_taken
            if y @ s > 1e-10:
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
