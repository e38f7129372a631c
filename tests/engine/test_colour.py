"""Colour that stays: the moments, ranks and luminance that the formulas promise."""

import numpy as np
import numpy.typing as npt
import pytest
from stylogram import colour

Array = npt.NDArray[np.float32]
# float32 of the results: 2^-24 relative on values up to 1, times a handful of operations.
ROUNDING = 4e-7


def picture(seed: int, height: int = 60, width: int = 70, spread: float = 0.12) -> Array:
    """Correlated colours well inside of [0, 1]."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, 3)) * spread / 2
    return np.clip(rng.normal(size=(height, width, 3)) @ mixing + rng.uniform(0.4, 0.6, 3), 0, 1).astype(np.float32)


def moments(rgb: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    pixels = rgb.reshape(-1, 3).astype(np.float64)
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


def grey(seed: int) -> Array:
    return np.repeat(picture(seed)[..., :1], 3, axis=2)


def test_linear_gives_mean_and_covariance_of_the_reference() -> None:
    source, reference = picture(0), picture(1, 33, 91)
    got, want = moments(colour.match_linear(source, reference)), moments(reference)
    np.testing.assert_allclose(got[0], want[0], atol=ROUNDING)
    np.testing.assert_allclose(got[1], want[1], atol=ROUNDING)


def test_linear_is_the_symmetric_root_of_image_analogies() -> None:
    """A S_s^1/2 = S_r^1/2, with the roots by SciPy: Cholesky's factors would give the same moments."""
    linalg = pytest.importorskip("scipy.linalg")
    source, reference = picture(2), picture(3)
    (mean, covariance), (goal_mean, goal) = moments(source), moments(reference)
    a = linalg.sqrtm(goal) @ np.linalg.inv(linalg.sqrtm(covariance))
    want = (source.reshape(-1, 3) - mean) @ a.T + goal_mean
    np.testing.assert_allclose(colour.match_linear(source, reference).reshape(-1, 3), want, atol=1e-6)


def test_linear_of_itself_changes_nothing() -> None:
    source = picture(4)
    np.testing.assert_allclose(colour.match_linear(source, source), source, atol=ROUNDING)


def test_linear_with_grey_pictures_on_either_side() -> None:
    for source, reference in ((grey(0), picture(1)), (picture(0), grey(1)), (grey(0), grey(1))):
        result = colour.match_linear(source, reference)
        np.testing.assert_allclose(moments(result)[0], moments(reference)[0], atol=ROUNDING)
        # Deviations of colours, not more than the reference's: nothing is blown up along directions without variance.
        limit = np.linalg.eigvalsh(moments(reference)[1]).max()
        assert np.linalg.eigvalsh(moments(result)[1]).max() <= limit * (1 + 1e-5)
    result = colour.match_linear(picture(0), grey(1))
    np.testing.assert_allclose(result[..., 0], result[..., 2], atol=1e-6)


def test_linear_does_not_stretch_the_rounding_of_a_grey_file() -> None:
    """A grey JPEG has colour noise of one step in 255; the reference's colours must not be made of it."""
    rng = np.random.default_rng(5)
    noise = rng.integers(-1, 2, (60, 70, 3)) / 255 * 0.9
    noise -= noise.mean(axis=2, keepdims=True)
    clean, noisy = grey(0), (grey(0) + noise).astype(np.float32)
    np.testing.assert_allclose(
        colour.match_linear(noisy, picture(1)), colour.match_linear(clean, picture(1)), atol=0.02
    )


def test_flat_pictures_take_the_mean() -> None:
    flat = np.full((20, 20, 3), 0.3, np.float32)
    result = colour.match_linear(flat, picture(1))
    np.testing.assert_allclose(result, np.broadcast_to(moments(picture(1))[0], result.shape), atol=ROUNDING)
    np.testing.assert_allclose(colour.match_linear(picture(1), flat), 0.3, atol=ROUNDING)
    np.testing.assert_allclose(colour.match_histogram(picture(1), flat), 0.3, atol=ROUNDING)
    median = np.median(picture(1).reshape(-1, 3), axis=0)
    np.testing.assert_allclose(colour.match_histogram(flat, picture(1))[0, 0], median, atol=ROUNDING)


def test_histogram_exchanges_sorted_values() -> None:
    rng = np.random.default_rng(6)
    source, reference = rng.random((24, 30, 3)), rng.random((40, 18, 3))  # as many pixels, no ties
    result = colour.match_histogram(source, reference)
    for c in range(3):
        want = np.empty(source[..., c].size)
        want[np.argsort(source[..., c].ravel())] = np.sort(reference[..., c].ravel())
        np.testing.assert_allclose(result[..., c].ravel(), want, atol=ROUNDING)


def test_histogram_between_pictures_of_two_sizes() -> None:
    """Quantiles agree to one step between neighbouring sorted values of the smaller picture, 1/400."""
    rng = np.random.default_rng(7)
    source, reference = rng.random((20, 20, 3)), rng.random((50, 60, 3)) ** 2
    result = colour.match_histogram(source, reference)
    at = np.linspace(0.01, 0.99, 50)
    for c in range(3):
        np.testing.assert_allclose(np.quantile(result[..., c], at), np.quantile(reference[..., c], at), atol=0.01)


def test_histogram_keeps_equal_values_equal_and_order() -> None:
    source = (picture(8) * 15).astype(np.uint8) / np.float32(15)
    result = colour.match_histogram(source, picture(9))
    for c in range(3):
        order = np.argsort(source[..., c].ravel(), kind="stable")
        values, matched = source[..., c].ravel()[order], result[..., c].ravel()[order]
        assert (np.diff(matched) >= 0).all()
        assert (np.diff(matched)[np.diff(values) == 0] == 0).all()


def test_luminance_takes_luma_from_the_one_and_chroma_from_the_other() -> None:
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    painted, content = picture(10), picture(11)
    result = colour.keep_luminance(painted, content)
    inside = ((result > 1e-6) & (result < 1 - 1e-6)).all(axis=2)
    assert inside.mean() > 0.9
    np.testing.assert_allclose((result @ yiq.T)[..., 0], (painted @ yiq.T)[..., 0], atol=1e-6)
    np.testing.assert_allclose((result @ yiq.T)[inside, 1:], (content @ yiq.T)[inside, 1:], atol=1e-6)


def test_luminance_out_of_gamut_keeps_luma_and_hue() -> None:
    rng = np.random.default_rng(12)
    painted, content = rng.random((30, 30, 3)), rng.random((30, 30, 3))
    result = colour.keep_luminance(painted, content).astype(np.float64)
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(colour.luma(result), colour.luma(painted), atol=1e-6)
    got = result - colour.luma(result)[..., None]
    want = content - colour.luma(content)[..., None]
    share = np.linalg.norm(got, axis=2) / np.linalg.norm(want, axis=2)
    assert share.max() <= 1 + 1e-5  # float32 of the result over chromas that may be small
    assert (share < 0.99).any()  # some were out of gamut, or the test shows nothing
    np.testing.assert_allclose(got, want * share[..., None], atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_luminance_of_black_and_white_and_grey(value: float) -> None:
    flat = np.full((20, 20, 3), value, np.float32)
    np.testing.assert_allclose(colour.keep_luminance(flat, np.broadcast_to(picture(13)[:20, :20], flat.shape)), value)
    np.testing.assert_allclose(colour.keep_luminance(grey(1), grey(2)), grey(1), atol=ROUNDING)
