"""The CUDA kernels against the float64 references: emulated here, and by STYLOGRAM_TEST_CUDA=gpu on a GPU."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from kernels import emulated
from kernels.checks import ELEMENTWISE, SUMMED, VALUE, Doubles, Floats, Tolerance, distinct, randoms
from kernels.quasi_newton import CUDA_BLOCK, TwoLoop, halves
from kernels.test_gram import Style
from stylogram import _core
from stylogram.devices.arrays import DeviceArray, Queue
from stylogram.losses import alpha_norm, content, tv
from stylogram.objective import Failed

TF32 = Tolerance(2e-3, "operands of 11 bits; errors of a product 5e-4, which average out in sums")
BF16 = Tolerance(1.5e-2, "operands of 8 bits: errors of 4e-3 a number")
LOOSE = {"fp32": SUMMED, "tf32": TF32, "bf16": BF16}
#: The loss is a square of differences of matrices: twice their error.
LOOSE_VALUE = {"fp32": VALUE, "tf32": Tolerance(5e-3, TF32.reason), "bf16": Tolerance(4e-2, BF16.reason)}
SIZES = [(1, 1), (3, 7), (64, 96), (64, 500), (65, 129), (70, 130)]
CASES = [(c, p, mask) for c, p in SIZES for mask in ("none", "shared", "each")]
if emulated.ON_GPU and not os.environ.get("STYLOGRAM_TEST_SMALL"):  # one of each: NumPy's float64 takes the time
    LARGE = [(64, 512 * 512, "none"), (64, 511 * 509, "each"), (128, 256 * 256, "shared"), (256, 16384, "none"),
             (512, 4096, "each"), (512, 1023, "none"), (300, 70, "shared")]  # fmt: skip
    CASES += LARGE
    SIZES += [(64, 511 * 509), (512, 4096)]


pytestmark = pytest.mark.usefixtures("fp32")


def on_gpu(queue: Queue, *values: Any) -> list[DeviceArray | None]:
    return [None if value is None else queue.upload(value) for value in values]


def run_style(queue: Queue, style: Style, accumulate: bool = False) -> tuple[Doubles, Floats, Floats]:
    """Value, gradient and Gram matrices; value and gradient begin with ones."""
    value, gradient = queue.upload(np.ones(len(style.features))), queue.upload(np.ones_like(style.features))
    gram = queue.empty(style.target.shape)
    arrays = on_gpu(queue, style.features, style.target, style.scale, style.offset)
    (mask,) = on_gpu(queue, style.mask)
    _core.gram_loss(*arrays, gram, gradient, value, accumulate, mask)
    return value.download(), gradient.download(), gram.download()


@pytest.mark.parametrize(("c", "p", "mask"), CASES)
def test_gram_loss_is_the_formula(queue: Queue, c: int, p: int, mask: str) -> None:
    large = c * p > 1_000_000
    style = Style.random(1 if large else 2, c, p, mask)
    expected_value, expected_gradient = style.reference()
    for accumulate in (True,) if large else (False, True):
        value, gradient, gram = run_style(queue, style, accumulate)
        SUMMED.check(gram, style.wide_gram())
        assert (gram == gram.transpose(0, 2, 1)).all()
        VALUE.check(value, expected_value + 1)
        SUMMED.check(gradient, expected_gradient + accumulate)
    alone = queue.empty(style.target.shape)
    features, mask_there = on_gpu(queue, style.features, style.mask)
    _core.gram(features, alone, mask_there)
    assert (alone.download() == gram).all()


@pytest.mark.parametrize("math", ["tf32", "bf16"])
@pytest.mark.parametrize(("c", "p"), SIZES[2:])
def test_narrow_products_are_as_close_as_their_numbers(queue: Queue, c: int, p: int, math: str) -> None:
    style = Style.random(1, c, p)
    _core.cuda_set_math(math)
    value, gradient, gram = run_style(queue, style)
    expected_value, expected_gradient = style.reference()
    LOOSE[math].check(gram, style.wide_gram())
    LOOSE[math].check(gradient, expected_gradient)
    LOOSE_VALUE[math].check(value - 1, expected_value)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 0.0])
def test_a_bad_mask_makes_the_loss_no_number(queue: Queue, bad: float) -> None:
    style = Style.random(1, 5, 20, "shared")
    assert style.mask is not None
    style.mask[:] = 0 if bad == 0 else 1
    style.mask[3] = bad
    value, _, _ = run_style(queue, style)
    assert np.isnan(value).all()


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (7, 33, 65), (64, 32, 128), (65, 100, 130)])
def test_matmul_is_the_product(queue: Queue, m: int, k: int, n: int) -> None:
    a, b = randoms(m, k), randoms(k, n, seed=1)
    out = queue.empty((m, n))
    _core.matmul(*on_gpu(queue, a, b), out)
    SUMMED.check(out.download(), a.astype(np.float64) @ b.astype(np.float64))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (4, 256), (8, 5000)])
def test_feature_loss_is_the_formula(queue: Queue, size: tuple[int, int], weighted: bool) -> None:
    c, p = size
    features, target, scale = randoms(3, c * p), randoms(3, c * p, seed=1), np.linspace(0.5, 2, 3)
    weight = np.abs(randoms(p, seed=2)) if weighted else None
    wide = [features.astype(np.float64), target.astype(np.float64), scale]
    expected = content.reference(*wide, None if weight is None else weight.astype(np.float64))
    for accumulate in (False, True):
        value, gradient = queue.upload(np.ones(3)), queue.upload(np.ones_like(features))
        arrays, (there,) = on_gpu(queue, features, target, scale), on_gpu(queue, weight)
        _core.feature_loss(*arrays, gradient, value, accumulate, there)
        VALUE.check(value.download(), expected[0] + 1)
        ELEMENTWISE.check(gradient.download(), expected[1] + accumulate)


@pytest.mark.parametrize("kind", ["anisotropic", "isotropic"])
@pytest.mark.parametrize("power", [1.0, 1.3, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("shape", [(2, 3, 17, 31), (1, 1, 1, 5), (1, 2, 6, 1), (1, 3, 64, 64)])
def test_tv_is_the_formula(queue: Queue, shape: tuple[int, ...], power: float, kind: str) -> None:
    picture = distinct(*shape)
    expected = tv.reference(picture.astype(np.float64), kind, power, 0.7)
    value, gradient = queue.upload(np.ones(shape[0])), queue.upload(np.ones(shape, np.float32))
    _core.tv(queue.upload(picture), kind, power, 0.7, gradient, value)
    VALUE.check(value.download(), expected[0] + 1)
    SUMMED.check(gradient.download(), expected[1] + 1)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.7, 6.0])
@pytest.mark.parametrize("d", [1, 77, 9000])
def test_alpha_norm_is_the_formula(queue: Queue, d: int, alpha: float) -> None:
    picture = distinct(2, d)
    expected = alpha_norm.reference(picture.astype(np.float64), alpha, 0.7, 0.4371)
    value, gradient = queue.upload(np.ones(2)), queue.upload(np.ones((2, d), np.float32))
    _core.alpha_norm(queue.upload(picture), alpha, 0.7, 0.4371, gradient, value)
    VALUE.check(value.download(), expected[0] + 1)
    SUMMED.check(gradient.download(), expected[1] + 1)


def test_a_batch_is_what_each_picture_gets_alone(queue: Queue) -> None:
    style = Style.random(3, 65, 300, "each")
    together = run_style(queue, style)
    for n in range(3):
        for whole, own in zip(together, run_style(queue, style.part(n)), strict=True):
            assert (whole[n : n + 1] == own).all()


def test_a_repetition_gives_the_same_bits(queue: Queue) -> None:
    style = Style.random(2, 65, 300, "shared")
    first, second = run_style(queue, style), run_style(queue, style)
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_the_checks_see_a_thousandth(queue: Queue) -> None:
    style = Style.random(1, 64, 96)
    value, gradient, gram = run_style(queue, style)
    expected_value, expected_gradient = style.reference()
    wide: list[tuple[Tolerance, Any, Doubles]] = [
        (SUMMED, gram, style.wide_gram()),
        (SUMMED, gradient, expected_gradient),
        (VALUE, value - 1, expected_value),
    ]
    for tolerance, got, expected in wide:
        with pytest.raises(AssertionError):
            tolerance.check(got * 1.001, expected)


# -- optimisers ---------------------------------------------------------------------------------------------------


def quartic(d: int, seed: int) -> Callable[[Doubles], tuple[float, Doubles]]:
    """A smooth function with its gradient, badly scaled."""
    scales = np.random.default_rng(seed).uniform(0.1, 5, d)
    centre = np.random.default_rng(seed + 1).standard_normal(d)

    def at(x: Doubles) -> tuple[float, Doubles]:
        away = x - centre
        return float((scales * away**2 + 0.1 * away**4).sum()), 2 * scales * away + 0.4 * away**3

    return at


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("history", [1, 4, 40])
@pytest.mark.parametrize("d", [1, 5, 3000])
def test_lbfgs_is_the_two_loop_recursion(queue: Queue, d: int, history: int, precision: str) -> None:
    functions = [quartic(d, seed) for seed in (0, 10)]
    lbfgs = _core.CudaLbfgs(2, d, history, precision=precision)
    x = np.zeros((2, d), np.float32)
    there = queue.upload(x)
    kept = partial(halves, size=CUDA_BLOCK) if precision == "float16" else np.copy
    references = [TwoLoop(history, kept=kept) for _ in functions]
    for _ in range(12):
        gradient = np.stack([f(row.astype(np.float64))[1] for f, row in zip(functions, x, strict=True)])
        narrow = gradient.astype(np.float32)
        expected = np.stack(
            [
                two.step(row.astype(np.float64), g)
                for two, row, g in zip(references, x, narrow.astype(float), strict=True)
            ]
        )
        lbfgs.step(there, queue.upload(narrow))
        x = there.download()
        Tolerance(2e-5, "history in float32; near the minimum y and s are small differences").check(x, expected)
    counts, outcomes = lbfgs.look(queue.handle)
    assert list(counts) == [min(len(two.pairs), history) for two in references]
    assert set(outcomes) <= {"kept", "rejected"}


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_lbfgs_gives_each_picture_what_it_gets_alone(queue: Queue, precision: str) -> None:
    """To the bit, also where a row of the batch begins at an address that is no multiple of 16 bytes."""
    n, d, history = 3, 1029, 6
    sizes = [n, *[1] * n]
    states = [_core.CudaLbfgs(size, d, history, precision=precision) for size in sizes]
    points = [queue.upload(np.zeros((size, d), np.float32)) for size in sizes]
    for seed in range(9):
        gradient = randoms(n, d, seed=seed) * np.float32(0.1) + points[0].download()
        for k, (lbfgs, point) in enumerate(zip(states, points, strict=True)):
            lbfgs.step(point, queue.upload(gradient if k == 0 else gradient[k - 1 : k]))
        assert (points[0].download() == np.concatenate([point.download() for point in points[1:]])).all()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_lbfgs_of_pictures_that_leave_a_block_several_chunks(queue: Queue, precision: str) -> None:
    d, history = 1024 * CUDA_BLOCK + 5, 1
    lbfgs = _core.CudaLbfgs(1, d, history, precision=precision)
    there, x = queue.upload(np.zeros((1, d), np.float32)), np.zeros(d)
    right = TwoLoop(history, kept=partial(halves, size=CUDA_BLOCK) if precision == "float16" else np.copy)
    for seed in range(3):
        gradient = 0.1 * np.random.default_rng(seed).standard_normal(d).astype(np.float32) + x.astype(np.float32)
        lbfgs.step(there, queue.upload(gradient[None]))
        x = right.step(x, gradient.astype(np.float64))
    Tolerance(2e-5, "history in float32").check(there.download(), x[None])


@pytest.mark.parametrize("sizes", [(1e-12, 1e-12), (1e12, 1e12), (1e-6, 1e6)])
def test_float16_has_no_largest_and_no_smallest_number(queue: Queue, sizes: tuple[float, float]) -> None:
    """float16 by itself ends at 65504 and at 6e-8. Also numbers 12 orders of magnitude apart; and a block of zeros."""
    d, history = 4500, 4
    spread = np.geomspace(*sizes, d)
    spread[2048:3072] = 0
    lbfgs = _core.CudaLbfgs(1, d, history, precision="float16", curvature=0)
    right = TwoLoop(history, curvature=0, kept=partial(halves, size=CUDA_BLOCK))
    other = TwoLoop(history, curvature=0)  # of pairs as they are
    there, wide, plain = queue.upload(np.zeros((1, d), np.float32)), np.zeros(d), np.zeros(d)
    for seed in range(12):
        gradient = (spread * np.random.default_rng(100 + seed).standard_normal(d)).astype(np.float32)
        lbfgs.step(there, queue.upload(gradient[None]))
        wide, plain = (two.step(x, gradient.astype(np.float64)) for two, x in ((right, wide), (other, plain)))
    close = Tolerance(1e-4, "where float32 is just beyond a tie a half is another one, 5e-4 away")
    close.check(there.download(), wide[None])
    with pytest.raises(AssertionError):
        close.check(plain[None].astype(np.float32), wide[None])


def test_float16_takes_half_the_memory() -> None:
    d, history = 4096, 9
    pairs = 2 * (history + 1)
    assert _core.CudaLbfgs(2, d, history).nbytes == 2 * d * pairs * 4
    sixteen = _core.CudaLbfgs(2, d, history, precision="float16")
    assert sixteen.nbytes == 2 * (d * (2 * 4 + pairs * 2) + d // CUDA_BLOCK * pairs * 4)
    with pytest.raises(ValueError, match="precision must be float32 or float16, got 'float8'"):
        _core.CudaLbfgs(1, 5, 3, precision="float8")


@pytest.mark.parametrize(("precision", "d"), [("float32", 1500), ("float16", 1023)])
def test_lbfgs_does_what_the_cpu_does(queue: Queue, precision: str, d: int) -> None:
    """Backtracking, restarts, gradients that are not finite and rejected pairs: the same outcomes, step by step.

    In float16 for one block of numbers, which has one power of two on both.
    """
    rng = np.random.default_rng(3)
    n = 4
    ours = _core.CudaLbfgs(n, d, 5, backtrack=True, precision=precision)
    cpu = _core.Lbfgs(n, d, 5, backtrack=True, precision=precision)
    x = randoms(n, d)
    there = queue.upload(x)
    seen: set[str] = set()
    value = np.ones(n)
    for step in range(40):
        gradient = randoms(n, d, seed=step) * np.float32(0.1) + x
        value = value * rng.uniform(0.9, 1.02, n)
        if step % 9 == 4:
            gradient[0, 7] = np.inf
        if 10 <= step < 24:
            value[1] = np.nan if step % 2 else 1e9
        if step % 7 == 3:
            gradient[2] = -gradient[2]
        cpu.step(x, gradient, value)
        ours.step(there, queue.upload(gradient), queue.upload(value))
        counts, outcomes = ours.look(queue.handle)
        assert outcomes == cpu.outcome
        assert list(counts) == list(cpu.count)
        seen |= set(outcomes)
        got = there.download()
        Tolerance(1e-3, "pairs of little curvature magnify roundings").check(got, x.astype(np.float64))
        there.upload(x)  # small differences do not add up
        value = np.where(np.isfinite(value) & (value < 1e6), value, 1.0)
    assert seen >= {"first", "kept", "halved", "restarted"}


def test_adam_and_descent_are_the_cpus(queue: Queue) -> None:
    x = randoms(2, 5000)
    there = queue.upload(x)
    cpu = _core.Adam(2, 5000, learning_rate=0.1)
    ours = _core.CudaAdam(2, 5000, learning_rate=0.1, decay=0.5, decay_every=3)
    for step in range(7):
        gradient = randoms(2, 5000, seed=step)
        cpu.learning_rate = 0.1 * 0.5 ** (step / 3)
        cpu.step(x, gradient)
        ours.step(there, queue.upload(gradient))
        ELEMENTWISE.check(there.download(), x.astype(np.float64))
    _core.gradient_descent(x, gradient, 0.3)
    _core.gradient_descent(there, queue.upload(gradient), 0.3)
    ELEMENTWISE.check(there.download(), x.astype(np.float64))


SMALL = [(2, 17, 31), (1, 2, 2), (1, 1, 1), (3, 64, 48), (1, 1, 9), (2, 33, 5)]
NEAR_THE_CUT = [(3, 64, 64), (1, 64, 65), (2, 65, 63), (1, 3, 1365), (1, 1366, 3)]  # 4096 pixels are a block's
OF_SEVERAL_LAUNCHES = [
    (1, 128, 128),
    (1, 129, 130),
    (6, 90, 140),
    (1, 5, 2047),
    (1, 3000, 3),
    (1, 2, 4100),
    (1, 257, 256),
]


@pytest.mark.parametrize("shape", [*SMALL, *NEAR_THE_CUT, *OF_SEVERAL_LAUNCHES])
@pytest.mark.parametrize("levels", [0, 1, 5, 14])
def test_pyramid_is_the_cpus(queue: Queue, shape: tuple[int, int, int], levels: int) -> None:
    v, base, expected = randoms(*shape), randoms(*shape, seed=1), np.empty(shape, np.float32)
    cpu, ours = _core.Pyramid(*shape, levels, 1.7), _core.CudaPyramid(*shape, levels, 1.7)
    assert ours.levels == cpu.levels
    there, out = queue.upload(v), queue.empty(shape)
    cpu.apply(v, expected)
    ours.apply(there, None, out)
    SUMMED.check(out.download(), expected.astype(np.float64))
    cpu.apply_add(v, base, expected)
    ours.apply(there, queue.upload(base), there)
    SUMMED.check(there.download(), expected.astype(np.float64))


def test_pyramid_gives_each_plane_what_it_gets_alone(queue: Queue) -> None:
    shape = (6, 90, 140)
    v, base, together = queue.upload(randoms(*shape)), queue.upload(randoms(*shape, seed=1)), queue.empty(shape)
    _core.CudaPyramid(*shape, 5, 1.7).apply(v, base, together)
    one = _core.CudaPyramid(1, *shape[1:], 5, 1.7)
    for plane in range(shape[0]):
        alone = queue.empty((1, *shape[1:]))
        one.apply(v[plane : plane + 1], base[plane : plane + 1], alone)
        assert (alone.download() == together.download()[plane]).all()


# -- memory, streams, errors --------------------------------------------------------------------------------------


def test_a_captured_graph_does_it_again(queue: Queue) -> None:
    x, gradient = queue.upload(np.zeros((1, 5), np.float32)), queue.upload(np.ones((1, 5), np.float32))
    graphs: list[Any] = []
    with queue.capture(graphs):
        _core.gradient_descent(x, gradient, 1.0)
        assert not gc.isenabled()  # what it frees would end a real capture
    assert gc.isenabled()
    assert (x.download() == 0).all()
    for _ in range(3):
        graphs[0].run()
    assert (x.download() == -3).all()


def test_a_view_is_the_same_memory(queue: Queue) -> None:
    whole = queue.upload(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    assert (whole[1].download() == np.arange(12, 24).reshape(3, 4)).all()
    assert (whole[0:1].reshape(3, -1).download() == np.arange(12).reshape(3, 4)).all()
    whole[1].clear()
    assert whole.download().sum() == 66
    with pytest.raises(ValueError, match=r"cannot be reshaped to \(5,\)"):
        whole.reshape(5)


def test_too_much_memory_is_one_clear_line(queue: Queue) -> None:
    with pytest.raises(Failed, match=r"memory does not suffice: \d+ MiB were needed, \d+ of \d+ MiB are free"):
        queue.empty((1 << 20, 1 << 22))


@pytest.mark.skipif(emulated.CHOSEN != "900", reason="started by the emulation of a newer GPU")
def test_a_gpu_without_tensor_cores_of_tf32_gets_the_same(pytestconfig: pytest.Config) -> None:
    """Compute capability 7.5, in a process of its own: one has one library."""
    environment = os.environ | {"STYLOGRAM_TEST_CUDA": "750"}
    chosen = "test_gram_loss_is_the_formula and (65-129 or 3-7) or test_matmul"
    files = [__file__, str(emulated.ROOT / "tests/kernels/test_cuda_last.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-k", chosen, *files]
    done = subprocess.run(command, cwd=emulated.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
