"""The kernels, on arrays that are changed in place: C-contiguous, of exactly the type that is named.

Arrays are NumPy's, or have `__cuda_array_interface__` for memory on a GPU. A bad argument is a ValueError in one line,
`[kernel] what is accepted, what was got`. N pictures are independent: each gets, to the bit, what it gets alone, and
the number of threads does not change a result either. The GIL is released while a kernel runs.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

def gram(features: _Floats, out: _Floats, mask: _Floats | None = None) -> None:
    """out = F diag(w) Fᵀ / Σw; features (N,C,P), out (N,C,C), mask w (P) or (N,P), finite and >= 0, ones if None."""

def gram_loss(
    features: _Floats,
    target: _Floats,
    scale: _Doubles,
    offset: _Doubles,
    gram: _Floats,
    gradient: _Floats,
    value: _Doubles,
    accumulate: bool,
    mask: _Floats | None = None,
) -> None:
    """value += scale ‖G − A‖² + offset; gradient = (or +=, with accumulate) 4 scale / Σw (G − A) F diag(w).

    features and gradient (N,C,P), target A (N,C,C), symmetric; scale, offset and value (N), mask as in `gram`;
    gram (N,C,C) becomes G. Gatys, Ecker and Bethge (2015), equations 3 to 6.
    """

def feature_loss(
    features: _Floats,
    target: _Floats,
    scale: _Doubles,
    gradient: _Floats,
    value: _Doubles,
    accumulate: bool,
    weight: _Floats | None = None,
) -> None:
    """value += scale Σ w (F − P)²; gradient = (or +=, with accumulate) 2 scale w (F − P).

    features, target and gradient (N,M), scale and value (N), weight (P), repeated M / P times, ones if None.
    """

def tv(
    picture: _Floats,
    kind: Literal["anisotropic", "isotropic"] | str,
    power: float,
    scale: float,
    gradient: _Floats,
    value: _Doubles,
) -> None:
    """value += scale (Σ|dx|^p + Σ|dy|^p), or isotropic scale Σ (dx² + dy²)^(p/2) over the (H−1)×(W−1) crop.

    gradient += its derivative, 0 where a term has none. picture and gradient (N,C,H,W), value (N), power >= 1.
    """

def alpha_norm(picture: _Floats, alpha: float, scale: float, shift: float, gradient: _Floats, value: _Doubles) -> None:
    """value += scale Σ |x − shift|^alpha; gradient += its derivative.

    picture and gradient (N,D), value (N), alpha >= 1.
    """

def matmul(a: _Floats, b: _Floats, out: _Floats) -> None:
    """out = a b; a (M,K), b (K,N), out (M,N): the product inside `gram_loss`, by itself."""

def gradient_descent(x: _Floats, gradient: _Floats, learning_rate: float) -> None:
    """x −= learning_rate · gradient; both (N,D)."""

class Adam:
    """Adam for x (n,d), as torch.optim.Adam: Kingma and Ba (2015), algorithm 1."""

    def __init__(
        self,
        n: int,
        d: int,
        *,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None: ...
    learning_rate: float
    def step(self, x: _Floats, gradient: _Floats) -> None:
        """Moves x, given the gradient there."""

    def reset(self) -> None:
        """Forgets the moments and the number of steps."""

class Lbfgs:
    """L-BFGS for n independent pictures x (n,d) without a line search, as torch.optim.LBFGS with line_search_fn=None.

    The first step is learning_rate · min(1, 1/‖g‖₁) along −g, later ones learning_rate along −Hg; a pair is kept if
    y·s > curvature; H₀ = y·s / y·y. Each picture has its own pairs, and keeps or rejects its own.

    backtrack: `step` needs the value. Where it is not finite, or above the value at the previous point by more than
    tolerance times its magnitude, or the gradient is not finite, the picture goes back to the previous point and takes
    half the step, at most ten times; then its pairs are forgotten and a first step is taken from there.
    A gradient that is not finite never enters the history: without backtrack, x stays where it is.
    """

    def __init__(
        self,
        n: int,
        d: int,
        history: int,
        *,
        learning_rate: float = 1.0,
        curvature: float = 1e-10,
        backtrack: bool = False,
        tolerance: float = 1e-4,
    ) -> None: ...
    learning_rate: float
    @property
    def count(self) -> NDArray[np.int64]:
        """How many pairs each picture has kept (n)."""

    @property
    def outcome(self) -> list[str]:
        """What the last step did with each picture: first, kept, rejected, halved, restarted or not finite."""

    @property
    def nbytes(self) -> int:
        """Bytes of the stored vectors; a slot takes room when it is first used."""

    def step(self, x: _Floats, gradient: _Floats, value: _Doubles | None = None) -> None:
        """Moves x (n,d), given gradient (n,d) and value (n) there."""

    def reset(self) -> None:
        """Forgets all pairs."""

class Pyramid:
    """S, symmetric and positive, on pictures (planes,height,width): each plane and its smoothed copies, summed.

    d₀ = v, d_{l+1} = D d_l; u_L = c_L d_L, u_l = c_l d_l + U u_{l+1}; S v = u₀. c₀ = 1, c_l = growth^l (1 − 1/growth).
    U doubles a side (m = ⌈n/2⌉, linear, half-pixel centres, cropped to n), D = Uᵀ/4. Bramble, Pasciak and Xu (1990).

    planes is N·C. levels >= 0; fewer are used where a side of the next would be below 2. growth > 1. Arrays are
    (planes,height,width) or (N,C,height,width). Not for two threads at once.
    """

    def __init__(self, planes: int, height: int, width: int, levels: int, growth: float = 2.0) -> None: ...
    @property
    def levels(self) -> int:
        """L: how many levels are used."""

    def apply(self, v: _Floats, out: _Floats) -> None:
        """out = S v; out may be v."""

    def apply_add(self, v: _Floats, base: _Floats, out: _Floats) -> None:
        """out = base + S v; out may be v or base."""

def threads() -> int:
    """How many threads a kernel uses that this thread calls, itself included; at first, as many as processors."""

def flush_denormals(on: bool) -> bool:
    """Set whether this thread takes denormals for zero (x86; elsewhere nothing); returns whether it did before."""

def set_threads(count: int) -> None:
    """Sets it, 1 to 1024, for the kernels that this thread calls and for no others."""

def simd() -> str:
    """The instruction set in use; the environment variable STYLOGRAM_SIMD chooses another one when a process starts."""

def simd_levels() -> list[str]:
    """Those this CPU has, lowest first."""

def set_simd(level: str) -> None:
    """Chooses one of them, for all threads."""
