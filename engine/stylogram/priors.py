"""Priors: what keeps the picture that maximises a unit a picture, by name. A picture of a unit is nothing without one:
there are noises that every unit likes better than any photograph (Nguyen, Yosinski and Clune 2015).
"""

from dataclasses import dataclass, field

from .ascent import Regularisers


@dataclass(frozen=True)
class Prior:
    """How the picture is made and moved.

    `fourier`: as decorrelated Fourier coefficients, else as pixels. `rate`: Adam's. `pad`, `jitter` in pixels, `zoom`
    (1 ± zoom) and `degrees`: how it is shown to the network at every step. `tv_weight`, `alpha_weight`: of the mean
    squared difference of neighbours and of the mean of |x - ½|⁶, where the activation is in units of the layer's root
    mean square for the first picture. `by_sight`: tv_weight counts once, ten or a hundred times by how much the units
    see, as in inversion.py: where they see little it would leave nothing but blots. `contrast`: so many times the mean
    of all classes is taken off a class's score: what they all like says nothing of it; at most once where the scores
    do not come out of a ReLU. `regularisers`: Yosinski's ascent in place of Adam.
    """

    fourier: bool = False
    rate: float = 0.05
    iterations: int = 512
    pad: int = 0
    jitter: int = 0
    zoom: float = 0.0
    degrees: float = 0.0
    tv_weight: float = 0.0
    by_sight: bool = False
    alpha_weight: float = 0.0
    contrast: float = 0.0
    regularisers: Regularisers | None = field(default=None)


#: `natural`: `fourier` with TV, contrast and half the steps: bananas become yellow on SqueezeNet. `fourier`: Olah et
#: al. 2017. `pixels`: Mahendran and Vedaldi 2016, "Visualizing deep convolutional neural networks using natural
#: pre-images": α-norm, TV and jitter, here by Adam. `yosinski-1` ... `-4`: the rows of Yosinski et al. 2015, table 1,
#: with the steps of their program (deep-visualization-toolbox, "Reproducing paper results").
PRIORS: dict[str, Prior] = {
    "natural": Prior(
        fourier=True,
        iterations=256,
        pad=12,
        jitter=8,
        zoom=0.1,
        degrees=10.0,
        tv_weight=25.0,
        by_sight=True,
        contrast=10.0,
    ),
    "fourier": Prior(fourier=True, pad=12, jitter=8, zoom=0.1, degrees=10.0),
    "pixels": Prior(rate=0.02, jitter=8, tv_weight=4000.0, by_sight=True, alpha_weight=1000.0),
    "yosinski-1": Prior(
        iterations=500, regularisers=Regularisers(blur=0.5, blur_every=4, small_norm=50, rate=100, progress=2)
    ),
    "yosinski-2": Prior(iterations=750, regularisers=Regularisers(decay=0.3, small_norm=20, rate=100)),
    "yosinski-3": Prior(iterations=1000, regularisers=Regularisers(decay=1e-4, blur=1.0, blur_every=4, rate=100)),
    "yosinski-4": Prior(
        iterations=1000,
        regularisers=Regularisers(blur=0.5, blur_every=4, small_contribution=90, rate=1e8, progress=2),
    ),
}
