"""What the tests of the driver share: the rest of an objective whose values a subclass says."""

import numpy as np
from stylogram.objective import Total


class Objective:
    """N pictures of 4x5 pixels. `spoil` changes the totals, or the gradient, after an evaluation."""

    name = "fake"

    def __init__(self, count, spoil=None, start=0.0):
        self.picture = np.full((count, 3, 4, 5), start, np.float32)
        self.gradient = np.zeros_like(self.picture)
        self.total = np.zeros(count)
        self.evaluations = 0
        self.spoil = spoil

    def evaluate(self):
        self.measure()
        if self.spoil:
            self.spoil(self)
        self.evaluations += 1

    def measure(self):
        """Set `total`, and `gradient` where it is not 0."""
        raise NotImplementedError

    finite, finite_each, move = Total.finite, Total.finite_each, Total.move

    def terms(self):
        return {self.name: float(self.total.mean())}
