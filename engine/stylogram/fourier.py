"""Pictures as their decorrelated Fourier coefficients: x = σ(M · irfft2(s(f) z) / 4).

z are complex coefficients, s(f) = √(H W) / max(f, 1/max(H,W)) makes a step of one size as visible at every frequency f
(in cycles a pixel), and M is the normalised square root of the correlation of ImageNet's colours. Olah, Mordvintsev and
Schubert 2017, "Feature visualization", section on preconditioning; the constants are those of their program.

The gradient: irfft2 of a half spectrum stands for both halves, so its adjoint is w · rfft2 / (H W), w = 1 in the
columns that are their own mirror (the first, and for an even W the last) and 2 in the others.
"""

import numpy as np
from numpy.typing import NDArray

from .objective import Values
from .optimise import OPTIMISERS, Settings
from .session import Array, aligned

#: Columns: the colour axes in RGB, by how much they vary; divided by the length of the longest.
_CORRELATION = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS = _CORRELATION / np.linalg.norm(_CORRELATION, axis=0).max()
DEVIATION = 0.01  # of the first coefficients
LOUDNESS = 4.0  # what their program divides by, so that the first pictures are grey and faint


def frequencies(height: int, width: int) -> NDArray[np.float64]:
    """|f| in cycles a pixel of each coefficient of a half spectrum, (H, W//2+1)."""
    return np.asarray(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)))


class FourierPicture:
    """N pictures of `shape` (N,3,H,W) and the numbers that they are made from: `parameters` (N,3,H,W//2+1,2) float32.

    `render` makes the pictures in (0,1), `pull` brings a gradient on them back to the parameters.
    """

    def __init__(self, shape: tuple[int, int, int, int], rng: np.random.Generator) -> None:
        n, channels, height, width = self.shape = shape
        self._scale = np.sqrt(height * width) / np.maximum(frequencies(height, width), 1 / max(height, width))
        self._mirrored = np.full(width // 2 + 1, 2.0)
        self._mirrored[0] = 1
        if width % 2 == 0:
            self._mirrored[-1] = 1
        self.parameters = aligned((n, channels, height, width // 2 + 1, 2))
        self.parameters[:] = DEVIATION * rng.standard_normal(self.parameters.shape)
        self._rendered = aligned(shape)

    def render(self, picture: Array) -> None:
        """Write the pictures (N,3,H,W) of the parameters."""
        halves = self.parameters[..., 0] + 1j * self.parameters[..., 1]
        plain = np.fft.irfft2(halves * self._scale, s=self.shape[2:]) / LOUDNESS
        coloured = np.einsum("rc,nchw->nrhw", COLOURS, plain)
        with np.errstate(over="ignore"):  # e^∞ is ∞, and its pixel 0
            self._rendered[:] = 1 / (1 + np.exp(-coloured))
        picture[:] = self._rendered

    def pull(self, gradient: Array) -> Array:
        """The gradient on the parameters from one on the pictures (N,3,H,W) that were rendered last."""
        inner = gradient * self._rendered * (1 - self._rendered)
        plain = np.einsum("rc,nrhw->nchw", COLOURS, inner)
        pixels = self.shape[2] * self.shape[3]
        halves = np.fft.rfft2(plain) * (self._scale * self._mirrored / (LOUDNESS * pixels))
        return np.ascontiguousarray(np.stack([halves.real, halves.imag], axis=-1), np.float32)


class FourierOptimiser:
    """Moves the coefficients by one of OPTIMISERS, and the pictures with them."""

    recovers = False

    def __init__(self, pictures: FourierPicture, settings: Settings) -> None:
        n = pictures.shape[0]
        self._pictures = pictures
        self._inner = OPTIMISERS[settings.name](n, pictures.parameters.size // n, settings)

    def step(self, picture: Array, gradient: Array, value: Values) -> None:
        self._inner.step(self._pictures.parameters, self._pictures.pull(gradient), value)
        self._pictures.render(picture)
