"""The losses on features as a network on a GPU leaves them: channels last, in 16 bits, of another unit."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from kernels import emulated
from kernels.checks import ELEMENTWISE, SUMMED, VALUE, Doubles, Floats, Tolerance, randoms
from kernels.test_cuda import TF32, on_gpu
from kernels.test_gram import Style
from numpy.typing import NDArray
from stylogram import _core
from stylogram.devices.arrays import Queue
from stylogram.losses import content

bfloat16 = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16").bfloat16

TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": bfloat16}
ONCE = Tolerance(2e-3, "rounded to 8 bits once")
WEIGHTED = {
    "float32": SUMMED,
    "float16": Tolerance(5e-4, "times the mask, rounded to 11 bits"),
    "bfloat16": Tolerance(4e-3, "times the mask, rounded to 8 bits"),
}
SIZES = [(1, 1), (3, 7), (8, 40), (12, 40), (65, 129), (72, 131), (136, 70)]
CASES = [(c, p, "none") for c, p in SIZES] + [(c, p, mask) for c, p in SIZES[1:5:3] for mask in ("shared", "each")]
if emulated.ON_GPU and not os.environ.get("STYLOGRAM_TEST_SMALL"):
    CASES += [(64, 512 * 512, "none"), (64, 511 * 509, "each"), (128, 256 * 256, "none"), (256, 16384, "none"),
              (512, 4096, "shared"), (512, 1023, "none"), (300, 70, "none")]  # fmt: skip


pytestmark = pytest.mark.usefixtures("fp32")


def bits(values: NDArray[Any]) -> NDArray[Any]:
    """As the kernels take them."""
    return values.view(np.uint16) if values.dtype == bfloat16 else values


@dataclass
class Last:
    """A Style whose features lie with their channels last in memory, in `dtype`, each 1 for `unit`."""

    style: Style
    stored: NDArray[Any]  # (N,P,C)
    unit: float

    @classmethod
    def random(cls, n: int, c: int, p: int, dtype: str, mask: str = "none", unit: float = 1.0) -> "Last":
        style = Style.random(n, c, p, mask)
        stored = np.ascontiguousarray(style.features.transpose(0, 2, 1)).astype(TYPES[dtype])
        seen = np.ascontiguousarray(stored.astype(np.float32).transpose(0, 2, 1)) * np.float32(unit)
        if style.mask is not None:  # so that a feature times it is what it was, but for the exponent
            style.mask = np.exp2(np.round(np.log2(style.mask + 1e-3))).astype(np.float32) * (style.mask > 0)
        return cls(replace(style, features=seen, target=style.target * np.float32(unit**2)), stored, unit)

    def run(self, queue: Queue, accumulate: bool = False) -> tuple[Doubles, Floats, Floats]:
        """Value, gradient (N,C,P) and Gram matrices; value and gradient begin with ones."""
        style, narrow = self.style, self.stored.dtype == bfloat16
        begun = np.ones(self.stored.shape, bfloat16 if narrow else np.float32)
        value, gradient = queue.upload(np.ones(len(begun))), queue.upload(bits(begun))
        gram = queue.empty(style.target.shape)
        arrays = on_gpu(queue, bits(self.stored), style.target, style.scale, style.offset)
        (mask,) = on_gpu(queue, style.mask)
        _core.gram_loss(*arrays, gram, gradient, value, accumulate, mask, channels_last=True, unit=self.unit)
        made = gradient.download()
        wide = (made.view(bfloat16) if narrow else made).astype(np.float32).transpose(0, 2, 1)
        return value.download(), wide, gram.download()

    def part(self, n: int) -> "Last":
        return Last(self.style.part(n), self.stored[n : n + 1].copy(), self.unit)

    def rounded_gradient(self, gram: Floats) -> Doubles:
        """4 scale / W (G - A) F diag(w), the matrix rounded as the kernel has it."""
        style = self.style
        n, _, p = style.features.shape
        mask = np.ones((n, p)) if style.mask is None else np.broadcast_to(style.mask, (n, p)).astype(np.float64)
        factor = (4 * style.scale * self.unit / mask.sum(axis=1)).astype(np.float32)[:, None, None]
        difference = (factor * (gram - style.target)).astype(bfloat16).astype(np.float64)
        return difference @ (style.features.astype(np.float64) / self.unit * mask[:, None])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("c", "p", "mask"), CASES)
def test_gram_loss_is_the_formula(queue: Queue, c: int, p: int, mask: str, dtype: str) -> None:
    large = c * p > 1_000_000
    for unit, accumulate in ((64.0, True),) if large else ((1.0, False), (64.0, True)):
        last = Last.random(1 if large else 2, c, p, dtype, mask, unit)
        expected_value, expected_gradient = last.style.reference()
        value, gradient, gram = last.run(queue, accumulate)
        SUMMED.check(gram, last.style.wide_gram())
        assert (gram == gram.transpose(0, 2, 1)).all()
        VALUE.check(value, expected_value + 1)
        if dtype == "bfloat16":
            ONCE.check(gradient, last.rounded_gradient(gram) + accumulate)
        else:
            SUMMED.check(gradient, expected_gradient + accumulate)
    alone = queue.empty(gram.shape)
    features, mask_there = on_gpu(queue, bits(last.stored), last.style.mask)
    _core.gram(features, alone, mask_there, channels_last=True, unit=last.unit)
    assert (alone.download() == gram).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("c", "p"), SIZES[2:])
def test_tf32_is_as_close_as_its_numbers(queue: Queue, c: int, p: int, dtype: str) -> None:
    last = Last.random(1, c, p, dtype)
    _core.cuda_set_math("tf32")
    _, gradient, gram = last.run(queue)
    (SUMMED if dtype == "float16" else TF32).check(gram, last.style.wide_gram())  # of 11 bits both
    TF32.check(gradient, last.style.reference()[1])


@pytest.mark.parametrize("dtype", TYPES)
def test_a_mask_of_any_numbers(queue: Queue, dtype: str) -> None:
    last = Last.random(2, 72, 300, dtype)
    last.style.mask = np.abs(randoms(2, 300, seed=5))
    _, gradient, gram = last.run(queue)
    WEIGHTED[dtype].check(gram, last.style.wide_gram())
    (ONCE if dtype == "bfloat16" else WEIGHTED[dtype]).check(
        gradient, last.rounded_gradient(gram) if dtype == "bfloat16" else last.style.reference()[1]
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mask", ["none", "each"])
def test_a_batch_is_what_each_picture_gets_alone_and_again(queue: Queue, dtype: str, mask: str) -> None:
    last = Last.random(2, 72, 200, dtype, mask)
    together, again = last.run(queue, True), last.run(queue, True)
    assert all((one == other).all() for one, other in zip(together, again, strict=True))
    for n in range(2):
        alone = last.part(n).run(queue, True)
        assert all((own == whole[n : n + 1]).all() for own, whole in zip(alone, together, strict=True))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (4, 256), (24, 5000)])
def test_feature_loss_is_the_formula(queue: Queue, size: tuple[int, int], weighted: bool, dtype: str) -> None:
    c, p = size
    unit, narrow = 64.0, dtype == "bfloat16"
    stored = randoms(3, p * c).astype(TYPES[dtype])
    features, target = stored.astype(np.float64) * unit, randoms(3, p * c, seed=1)
    scale, weight = np.linspace(0.5, 2, 3), np.abs(randoms(p, seed=2)) if weighted else None
    wide = None if weight is None else np.repeat(weight.astype(np.float64), c)  # for each number of a picture
    expected = content.reference(features, target.astype(np.float64), scale, wide)
    for accumulate in (False, True):
        begun = np.ones(stored.shape, bfloat16 if narrow else np.float32)
        value, gradient = queue.upload(np.ones(3)), queue.upload(bits(begun))
        arrays, (there,) = on_gpu(queue, bits(stored), target, scale), on_gpu(queue, weight)
        _core.feature_loss(*arrays, gradient, value, accumulate, there, channels_last=True, unit=unit)
        VALUE.check(value.download(), expected[0] + 1)
        made = gradient.download()
        got = (made.view(bfloat16) if narrow else made).astype(np.float32)
        (ONCE if narrow else ELEMENTWISE).check(got, expected[1] + accumulate)


def test_what_is_not_taken_is_one_clear_line(queue: Queue) -> None:
    last = Last.random(1, 8, 20, "bfloat16")
    style = last.style
    there = on_gpu(queue, bits(last.stored), style.target, style.scale, style.offset)
    gram, value = queue.empty(style.target.shape), queue.upload(np.ones(1))
    wide, narrow = queue.empty(last.stored.shape), queue.empty(last.stored.shape, np.uint16)
    with pytest.raises(ValueError, match=r"\[gram_loss\] gradient must be bfloat16 \(as uint16\), got <f4"):
        _core.gram_loss(*there, gram, wide, value, False, channels_last=True)
    with pytest.raises(ValueError, match=r"\[gram\] features of 16 bits are accepted with their channels last"):
        _core.gram(queue.empty((1, 8, 20), np.float16), gram)
    with pytest.raises(ValueError, match=r"\[gram_loss\] target must have shape \(1, 20, 20\), got \(1, 8, 8\)"):
        _core.gram_loss(there[0], there[1], there[2], there[3], gram, narrow, value, False)
    on_host = np.ones((1, 20, 8), np.float32), np.empty((1, 8, 8), np.float32)
    for words in ({"channels_last": True}, {"unit": 2.0}):
        made = np.empty((1, 8, 8) if "channels_last" in words else (1, 20, 20), np.float32)
        with pytest.raises(ValueError, match=r"\[gram\] on the CPU float32 features with their channels first and"):
            _core.gram(on_host[0], made, **words)
    with pytest.raises(ValueError, match=r"\[gram\] features must be float32, got float16"):
        _core.gram(on_host[0].astype(np.float16), on_host[1])
