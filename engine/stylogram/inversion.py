"""How Mahendran and Vedaldi invert a representation: constants, priors, the descent, and what they call its error.

    E = ‖Φ(x) − Φ₀‖² / ‖Φ₀‖² + (λ_α / 2 · Σ |x|^α + λ_V / 2 · Σ (dx² + dy²)^(β/2)) / σ²

x: pixels of 0 to 255 minus the mean colour; pictures here are in [0,1], and the constants are brought to that where
they are used. "Understanding deep image representations by inverting them" (2015), sections 3 and 4; the halves and σ²
are those of their program, github.com/aravindhm/deep-goggle, invert_nn.m.

From noise in pixels this leads to high frequencies that the layer takes for the picture: deep layers come out as noise
on grey. `natural` goes down the same energy in decorrelated Fourier coefficients (Olah, Mordvintsev and Schubert 2017),
and shifts the picture meanwhile (as Mahendran and Vedaldi did in 2016, "... using natural pre-images"): it ends lower.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from stylogram_export.graph import reads
from stylogram_export.receptive import fields

from . import losses
from .errors import Error
from .fourier import FourierOptimiser, FourierPicture
from .objective import PictureTerm, Values
from .optimise import Optimiser, Settings
from .session import Array, FeaturePass, Shape
from .transforms import Settling, ViewedPass

ALPHA, ALPHA_WEIGHT, BETA = 6.0, 8e-10, 2.0
RANGE = 255.0  # of their pixels
#: λ_V up to a receptive field, in pixels. Theirs are for AlexNet's layers 1 to 6, up to conv2's ReLU, which sees 51; 7
#: to 12, up to conv4's, which sees 131; and 13 to 20.
TV_WEIGHTS: Mapping[float, float] = {51.0: 1.0, 131.0: 10.0, np.inf: 100.0}
SIGMA, SIDE = 27098.1, 227  # the mean norm of a photograph of SIDE×SIDE pixels
#: Learning rates and how many of 400 iterations each lasts.
SCHEDULE = ((4e-3, 100), (4e-4, 200), (4e-5, 100))
MOMENTUM = 0.9
#: `natural`: Adam's learning rate, λ_V of every layer, the share of the iterations that shift the picture, and by how
#: much: a part of the layer's stride, or pixels where it has none.
RATE, NATURAL_TV, SHIFTED, OF_STRIDE, SHIFT = 0.05, 1.0, 0.7, 0.25, 8


def sigma(height: int, width: int) -> float:
    """The norm of a photograph of that size, in pixels of 0 to 255: it grows as the root of their number."""
    return float(SIGMA * np.sqrt(height * width) / SIDE)


def starting(shape: Sequence[int], colour: Array, rng: np.random.Generator) -> Array:
    """Noise (N,3,H,W) of norm sigma around a colour (3), in [0,1]: picture k is the same whatever N is."""
    noise = np.stack([rng.standard_normal(tuple(shape[1:]), np.float32) for _ in range(shape[0])])
    norms = np.sqrt(np.square(noise, dtype=np.float64).sum(axis=(1, 2, 3), keepdims=True))
    scaled = noise * (sigma(shape[2], shape[3]) / RANGE / norms) + colour.reshape(1, 3, 1, 1)
    return np.asarray(scaled, np.float32)


def priors(
    shape: tuple[int, ...], colour: Array, alpha: tuple[float, float], variation: tuple[float, float]
) -> list[PictureTerm]:
    """The two regularisers for pictures (N,3,H,W) in [0,1] around a colour (3): (α, λ_α) and (β, λ_V)."""
    half = 0.5 / sigma(shape[2], shape[3]) ** 2
    norm, tv = losses.load("picture", "alpha-norm-colour"), losses.load("picture", "tv-bordered")
    terms: list[PictureTerm] = []
    if alpha[1]:
        terms.append(norm.Term(alpha[1] * half * RANGE ** alpha[0], alpha[0], colour.tolist()))
    if variation[1]:
        terms.append(tv.Term(shape, variation[1] * half * RANGE ** variation[0], variation[0], "edge"))
    return terms


def tv_weight(model: onnx.ModelProto, tensor: str) -> float:
    """λ_V of a layer, by what its units see; those of a classifier see everything."""
    size = max(fields(model)[tensor].size or (np.inf,))
    return next(weight for until, weight in TV_WEIGHTS.items() if size <= until)


def depth(model: onnx.ModelProto, tensor: str) -> float:
    """The weighted layers on the longest path to a tensor, over those of the whole network."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        before = max((found.get(name, 0) for name in reads(node)), default=0)
        before += node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        found.update(dict.fromkeys(node.output, before))
    return found[tensor] / max(*found.values(), 1)


def natural(
    model: onnx.ModelProto,
    tensor: str,
    shape: Shape,
    iterations: int,
    rng: np.random.Generator,
    *,
    rate: float = RATE,
    threads: int = 0,
    convolution: str | None = None,
) -> tuple[FeaturePass, Optimiser]:
    """The features of N first pictures, faint and shifted at every step, and what moves these; picture k is the same
    whatever N is."""
    stride = fields(model)[tensor].stride
    jitter = SHIFT if stride is None else int(OF_STRIDE * float(max(stride)))
    views = Settling(jitter, round(SHIFTED * iterations))
    seed = rng.spawn(1)[0]
    network = ViewedPass(model, [tensor], shape, views, seed, threads=threads, convolution=convolution)
    first = FourierPicture(shape, rng)
    first.render(network.picture)
    return network, FourierOptimiser(first, Settings("adam", rate))


class Momentum:
    """v ← 0.9 v − η σ² g, x ← x + v; η by SCHEDULE, stretched to `iterations`; v is 0 again when η changes.

    `rate`: the first of the learning rates, the others in proportion. Theirs are for AlexNet.
    """

    recovers = False

    def __init__(self, shape: Sequence[int], iterations: int, rate: float = SCHEDULE[0][0]) -> None:
        total = sum(count for _, count in SCHEDULE)
        ends = np.cumsum([count for _, count in SCHEDULE]) * iterations / total
        rates = [one * rate / SCHEDULE[0][0] for one, _ in SCHEDULE]
        self._rates = [
            next(one for one, end in zip(rates, ends, strict=True) if step < end) for step in range(iterations)
        ]
        self._square = (sigma(shape[2], shape[3]) / RANGE) ** 2
        self._velocity = np.zeros(tuple(shape), np.float32)
        self._change = np.empty_like(self._velocity)
        self._step = 0

    def step(self, picture: Array, gradient: Array, value: Values) -> None:  # noqa: ARG002 -- the protocol's
        rate = self._rates[min(self._step, len(self._rates) - 1)]
        if self._step and rate != self._rates[self._step - 1]:
            self._velocity[:] = 0
        self._step += 1
        self._velocity *= np.float32(MOMENTUM)
        np.multiply(gradient, np.float32(rate * self._square), out=self._change)
        self._velocity -= self._change
        picture += self._velocity


def errors(codes: Array, code: Array) -> list[float]:
    """‖y − y₀‖² / ‖y₀‖² of each code (N,...) against the one (...) that was to be met."""
    whole = np.square(code, dtype=np.float64).sum()
    return [float(np.square(y.astype(np.float64) - code).sum() / whole) for y in codes]


def spread(codes: Iterable[Array]) -> float:
    """The mean over all pairs of ‖y_i − y_j‖²: (n Σ ‖y_i‖² − ‖Σ y_i‖²) / (n (n − 1) / 2), one code at a time.

    Raises Error for fewer than two codes, and where all are the same.
    """
    count, squares, total = 0, 0.0, np.zeros(1)
    for code in codes:
        flat: NDArray[np.float64] = code.astype(np.float64).ravel()
        count, squares, total = count + 1, squares + float(flat @ flat), total + flat
    if count < 2:
        raise Error(f"pairs: at least two pictures are needed for a distance between codes, got {count}")
    mean = float((count * squares - total @ total) / (count * (count - 1) / 2))
    if mean <= 0:
        raise Error(f"pairs: the {count} pictures have the same code: there is no distance to divide by")
    return mean
