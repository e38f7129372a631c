"""Gram matrices and the style loss against the float64 reference."""

from dataclasses import dataclass

import numpy as np
import pytest
from kernels.checks import SUMMED, VALUE, Doubles, Floats, machine, randoms, slope
from stylogram import _core
from stylogram.losses.style import reference

SIZES = [(c, p) for c in (1, 3, 5, 64, 65) for p in (1, 7, 1000, 4097)] + [(129, 2000), (300, 70)]


def mask_of(kind: str, n: int, p: int) -> Floats | None:
    """No mask, one for all pictures, or one each; with zeros in it."""
    if kind == "none":
        return None
    weights = np.abs(randoms(n, p, seed=5))
    weights[:, : p // 3] = 0
    return weights[0].copy() if kind == "shared" else weights


@dataclass
class Style:
    features: Floats
    target: Floats
    scale: Doubles
    offset: Doubles
    mask: Floats | None = None

    @classmethod
    def random(cls, n: int, c: int, p: int, mask: str = "none") -> "Style":
        target = randoms(n, c, c, seed=1)
        target += target.transpose(0, 2, 1).copy()  # symmetric, as a Gram matrix is: the formula's gradient needs it
        return cls(randoms(n, c, p), target, np.linspace(0.5, 2, n), np.linspace(3, 4, n), mask_of(mask, n, p))

    def run(self, accumulate: bool = False) -> tuple[Doubles, Floats, Floats]:
        """The value, the gradient and the Gram matrices; value and gradient begin with ones."""
        value, gradient = np.ones(len(self.features)), np.ones_like(self.features)
        gram = np.empty_like(self.target)
        _core.gram_loss(
            self.features, self.target, self.scale, self.offset, gram, gradient, value, accumulate, self.mask
        )
        return value, gradient, gram

    def reference(self, features: Doubles | None = None) -> tuple[Doubles, Doubles]:
        mask = None if self.mask is None else self.mask.astype(np.float64)
        at = self.features.astype(np.float64) if features is None else features
        value, gradient = reference(at, self.target.astype(np.float64), self.scale, mask)
        return value + self.offset, gradient

    def wide_gram(self) -> Doubles:
        """G in float64."""
        n, _, p = self.features.shape
        weights = np.ones((n, p)) if self.mask is None else np.broadcast_to(self.mask, (n, p)).astype(np.float64)
        wide = self.features.astype(np.float64)
        return np.stack([(f * w) @ f.T / w.sum() for f, w in zip(wide, weights, strict=True)])

    def part(self, n: int) -> "Style":
        mask = self.mask if self.mask is None or self.mask.ndim == 1 else self.mask[n : n + 1].copy()
        one = slice(n, n + 1)
        return Style(self.features[one].copy(), self.target[one].copy(), self.scale[one], self.offset[one], mask)


# The levels within the test: the float64 reference takes most of the time.
@pytest.mark.parametrize("mask", ["none", "shared", "each"])
@pytest.mark.parametrize(("c", "p"), SIZES)
def test_gram_and_loss_are_the_formula(c: int, p: int, mask: str) -> None:
    style = Style.random(2, c, p, mask)
    expected_gram = style.wide_gram()
    expected_value, expected_gradient = style.reference()
    for level in _core.simd_levels():
        with machine(level=level):
            gram = np.empty_like(style.target)
            _core.gram(style.features, gram, style.mask)
            SUMMED.check(gram, expected_gram)
            assert (gram == gram.transpose(0, 2, 1)).all()
            for accumulate in (False, True):
                value, gradient, inside = style.run(accumulate)
                VALUE.check(value, expected_value + 1)
                SUMMED.check(gradient, expected_gradient + accumulate)
                assert (inside == gram).all()


@pytest.mark.usefixtures("level")
def test_a_wrong_factor_is_found() -> None:
    style = Style.random(2, 65, 1000, "each")
    value, gradient, gram = style.run()
    expected_value, expected_gradient = style.reference()
    with pytest.raises(AssertionError):
        SUMMED.check(gram * np.float32(1.001), style.wide_gram())
    with pytest.raises(AssertionError):
        VALUE.check(value * 1.001, expected_value + 1)
    with pytest.raises(AssertionError):
        SUMMED.check(gradient * np.float32(1.001), expected_gradient)


@pytest.mark.parametrize("mask", ["none", "each"])
@pytest.mark.usefixtures("level")
def test_gradient_is_that_of_the_value(mask: str) -> None:
    style = Style.random(2, 5, 23, mask)
    direction = randoms(*style.features.shape, seed=9).astype(np.float64)
    along = slope(lambda at: style.reference(at)[0], style.features.astype(np.float64), direction)
    _, gradient, _ = style.run()
    assert np.vdot(gradient.astype(np.float64), direction) == pytest.approx(along, rel=1e-5)  # float32's gradient
    assert np.vdot(style.reference()[1], direction) == pytest.approx(along, rel=1e-8)


def same(first: tuple[Doubles, Floats, Floats], second: tuple[Doubles, Floats, Floats]) -> bool:
    return all((a == b).all() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("mask", ["none", "shared", "each"])
@pytest.mark.parametrize(("c", "p"), [(3, 4097), (65, 9000), (130, 3000)])
@pytest.mark.usefixtures("level", "threads")
def test_a_batch_gives_what_each_picture_gets_alone(c: int, p: int, mask: str) -> None:
    style = Style.random(3, c, p, mask)
    together = style.run(accumulate=True)
    for n in range(3):
        alone = style.part(n).run(accumulate=True)
        assert same(alone, tuple(array[n : n + 1] for array in together))


@pytest.mark.usefixtures("level")
def test_same_bits_again_and_with_any_number_of_threads() -> None:
    style = Style.random(2, 65, 20000)
    results = []
    for threads in (1, 1, 2, 3, 7):
        with machine(threads=threads):
            results.append(style.run())
    assert all(same(results[0], result) for result in results[1:])


@pytest.mark.usefixtures("level")
def test_many_positions_stay_accurate() -> None:
    """Sums of 300,000 positive terms, where a running sum in float32 would be off by 1e-5."""
    features = np.abs(randoms(1, 6, 300_000)) + 10
    out = np.empty((1, 6, 6), np.float32)
    _core.gram(features, out)
    wide = features[0].astype(np.float64)
    SUMMED.check(out[0], wide @ wide.T / 300_000)


def call(**changes: object) -> None:
    style = Style.random(2, 3, 4)
    arguments: dict[str, object] = {
        "features": style.features,
        "target": style.target,
        "scale": style.scale,
        "offset": style.offset,
        "gram": np.empty_like(style.target),
        "gradient": np.empty_like(style.features),
        "value": np.zeros(2),
        "accumulate": False,
    }
    _core.gram_loss(**(arguments | changes))  # type: ignore[arg-type]


READ_ONLY = np.zeros((2, 3, 4), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": randoms(3, 4)}, "features must be (N, C, P), got ndim=2"),
        ({"features": randoms(2, 0, 4)}, "features must not be empty, got (2, 0, 4)"),
        ({"features": np.zeros((2, 3, 4))}, "features must be float32, got float64"),
        ({"features": [1.0]}, "features must be a NumPy array or have __cuda_array_interface__, got list"),
        ({"features": randoms(2, 4, 3).transpose(0, 2, 1)}, "features must be C-contiguous"),
        ({"target": randoms(2, 3, 4)}, "target must have shape (2, 3, 3), got (2, 3, 4)"),
        ({"scale": np.zeros(2, np.float32)}, "scale must be float64, got float32"),
        ({"offset": np.zeros(3)}, "offset must have shape (2,), got (3,)"),
        ({"gradient": READ_ONLY}, "gradient must be writable"),
        ({"mask": np.ones(5, np.float32)}, "mask must have shape (4,), got (5,)"),
        ({"mask": np.ones((3, 4), np.float32)}, "mask must have shape (2, 4), got (3, 4)"),
    ],
)
def test_a_bad_argument_is_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole message is compared
        call(**changes)
    assert str(caught.value) == f"[gram_loss] {message}"


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 2, -1, 0], "mask must be finite and >= 0, got -1 at position 2"),
        ([1, np.nan, 1, 1], "mask must be finite and >= 0, got nan at position 1"),
        ([0, 0, 0, 0], "mask must not be 0 everywhere"),
    ],
)
def test_a_bad_mask_is_one_clear_line(mask: list[float], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.gram(randoms(2, 3, 4), np.empty((2, 3, 3), np.float32), np.array(mask, np.float32))
    assert str(caught.value) == f"[gram] {message}"
