"""The kernels, on arrays that are changed in place: C-contiguous, of exactly the type that is named.

Arrays are NumPy's, or have `__cuda_array_interface__` for memory on a GPU. A bad argument is a ValueError in one line,
`[kernel] what is accepted, what was got`. N pictures are independent: each gets, to the bit, what it gets alone, and
the number of threads does not change a result either. The GIL is released while a kernel runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

class _OnGpu(Protocol):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...

_Floats = NDArray[np.float32] | _OnGpu
_Doubles = NDArray[np.float64] | _OnGpu

def gram(
    features: _Floats,
    out: _Floats,
    mask: _Floats | None = None,
    channels_last: bool = False,
    unit: float = 1.0,
) -> None:
    """out = F diag(w) Fᵀ / Σw; features (N,C,P), out (N,C,C), mask w (P) or (N,P), finite and >= 0, ones if None.

    On a GPU features may be (N,P,C), with `channels_last`, and then float16, or bfloat16 as its bits in uint16; a 1 of
    them stands for `unit`.
    """

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
    channels_last: bool = False,
    unit: float = 1.0,
) -> None:
    """value += scale ‖G − A‖² + offset; gradient = (or +=, with accumulate) 4 scale / Σw (G − A) F diag(w).

    features and gradient (N,C,P), target A (N,C,C), symmetric; scale, offset and value (N), mask as in `gram`;
    gram (N,C,C) becomes G. `channels_last` and `unit` as in `gram`, of the gradient the first: it is bfloat16 where the
    features are, else float32. Gatys, Ecker and Bethge (2015), equations 3 to 6.
    """

def feature_loss(
    features: _Floats,
    target: _Floats,
    scale: _Doubles,
    gradient: _Floats,
    value: _Doubles,
    accumulate: bool,
    weight: _Floats | None = None,
    channels_last: bool = False,
    unit: float = 1.0,
) -> None:
    """value += scale Σ w (F − P)²; gradient = (or +=, with accumulate) 2 scale w (F − P).

    features, target and gradient (N,M), scale and value (N), weight (P), repeated M / P times, ones if None; with
    `channels_last` each M / P times. Types on a GPU, and `unit`, as in `gram_loss`; the target is float32.
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

    precision: of the pairs; float16 is scaled by a power of two for every 2048 numbers. directory: where all vectors
    are kept in a file without a name, whose room is taken at once; "": in memory.
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
        precision: Literal["float32", "float16"] | str = "float32",
        directory: str | bytes = "",
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
        """Bytes of the stored vectors; in memory a slot takes room when it is first used."""

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

# -- the CUDA library: addresses, streams and graphs are integers; engine/stylogram/devices/ makes objects of them -----

def cuda_open(path: str) -> None:
    """Open the library of CUDA kernels, in the place of one that was; needs no GPU. ValueError where it cannot be."""

def cuda_kernels() -> list[str]:
    """The functions of the library; none before it is open."""

def cuda_set_math(name: Literal["fp32", "tf32", "bf16"] | str) -> None:
    """How the kernels that this thread calls multiply on a GPU."""

def cuda_devices() -> int:
    """How many GPUs there are; RuntimeError without a driver, or with one that is too old."""

def cuda_device(device: int) -> dict[str, Any]:
    """name, capability (major, minor), free and total memory in bytes."""

def cuda_use(device: int) -> None:
    """This thread works on that GPU from now on."""

def cuda_allocate(count: int) -> int: ...
def cuda_free(block: int) -> None: ...
def cuda_copy(to: int, source: int, count: int, stream: int) -> None:
    """Host or GPU, either way; the host does not wait for it."""

def cuda_clear(block: int, count: int, stream: int) -> None: ...
def cuda_stream() -> int: ...
def cuda_free_stream(stream: int) -> None: ...
def cuda_wait(stream: int) -> None: ...
def cuda_begin_capture(stream: int) -> None: ...
def cuda_end_capture(stream: int) -> int: ...
def cuda_run_graph(graph: int, stream: int) -> None: ...
def cuda_free_graph(graph: int) -> None: ...
def cuda_dlpack(array: object, address: int, shape: Sequence[int], kind: str, count: int, device: int) -> object:
    """A DLPack capsule that keeps `array` alive."""

def cuda_follow(n: int, d: int, terms: int, rows: int, at: Mapping[str, int], stream: int) -> None:
    """After an evaluation: record its losses and keep each picture's best (csrc/cuda/states.h, Course)."""

def cuda_clip(x: _OnGpu, low: float, high: float) -> None:
    """x (N,D) is put between low and high; a NaN stays."""

def cudnn_choices() -> dict[str, int]:
    """How many problems of this process, a layer of a session at a size each, our convolutions have done which way.

    fused: bias and ReLU in cuDNN's pass; split: by a kernel of ours behind it; bare: the layer has neither. Of these
    unsteady: the engine may add up in another order every time, or does not say. failed: plans whose first run failed,
    after which the next was tried. Counted once, in a problem's first run; ONNX Runtime's own convolutions are not.
    """

class CudaLbfgs:
    """Lbfgs with all its state on the GPU. precision: of the pairs; float16 is scaled for every 1024 numbers."""

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
        precision: Literal["float32", "float16"] | str = "float32",
    ) -> None: ...
    @property
    def nbytes(self) -> int: ...
    def step(self, x: _OnGpu, gradient: _OnGpu, value: _OnGpu | None = None) -> None: ...
    def look(self, stream: int) -> tuple[list[int], list[str]]:
        """Lbfgs.count and Lbfgs.outcome, once what is in the stream is done: the one that its steps were put into."""

class CudaAdam:
    """Adam with all its state on the GPU; the rate is learning_rate · decay^(steps / decay_every)."""

    def __init__(
        self,
        n: int,
        d: int,
        *,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1.0,
        decay_every: float = 1.0,
    ) -> None: ...
    def step(self, x: _OnGpu, gradient: _OnGpu) -> None: ...

class CudaPyramid:
    """Pyramid with its memory on the GPU."""

    def __init__(self, planes: int, height: int, width: int, levels: int, growth: float = 2.0) -> None: ...
    @property
    def levels(self) -> int: ...
    def apply(self, v: _OnGpu, base: _OnGpu | None, out: _OnGpu) -> None:
        """out = S v, or base + S v; all (planes,height,width); out may be one of the others."""
