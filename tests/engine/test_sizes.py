"""Sizes, resampling and layouts of pictures."""

import numpy as np
import pytest
from stylogram import pictures
from stylogram.errors import Error


@pytest.mark.parametrize(
    ("height", "width", "long_side", "want"),
    [
        (300, 400, 256, (192, 256)),
        (400, 300, 256, (256, 192)),
        (100, 100, 512, (512, 512)),
        (427, 640, 512, (342, 512)),  # 341.6
        (405, 810, 405, (203, 405)),  # 202.5: halves up
        (4000, 250, 256, (256, 16)),
    ],
)
def test_fitted(height: int, width: int, long_side: int, want: tuple[int, int]) -> None:
    assert pictures.fitted(height, width, long_side) == want


def test_fitted_refuses_what_becomes_too_thin_and_says_what_would_do() -> None:
    with pytest.raises(Error) as raised:
        pictures.fitted(200, 4000, 256)
    assert "4000x200" in str(raised.value)
    assert "256x13" in str(raised.value)
    least = int(str(raised.value).rsplit(" ", 1)[1])
    assert min(pictures.fitted(200, 4000, least)) == pictures.MIN_SIDE
    with pytest.raises(Error):
        pictures.fitted(200, 4000, least - 1)


def test_shrinking_averages_areas() -> None:
    array = np.random.default_rng(0).random((40, 60, 3)).astype(np.float32)
    want = array.reshape(10, 4, 20, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(pictures.resized(array, (10, 20)), want, atol=1e-6)


def test_shrinking_by_a_fraction_keeps_the_mean() -> None:
    array = np.random.default_rng(1).random((50, 70)).astype(np.float32)
    assert pictures.resized(array, (31, 43)).mean() == pytest.approx(array.mean(), abs=1e-5)


def test_enlarging_follows_a_smooth_picture_and_stays_in_range() -> None:
    def wave(size: int) -> np.ndarray:
        return 0.5 + 0.4 * np.sin(2 * np.pi * (np.arange(size) + 0.5) / size * 4)

    array = (wave(48)[:, None] * wave(64)).astype(np.float32)
    large = pictures.resized(array, (96, 128))
    want = wave(96)[:, None] * wave(128)
    # Lanczos' 8 taps on 12 samples a period; borders are replicated and left out.
    np.testing.assert_allclose(large[10:-10, 10:-10], want[10:-10, 10:-10], atol=5e-3)
    edge = np.zeros((32, 32), np.float32)
    edge[:, 16:] = 1
    assert (pictures.resized(edge, (100, 100)).min(), pictures.resized(edge, (100, 100)).max()) == (0, 1)


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    array = np.repeat(np.random.default_rng(2).random((40, 1)), 20, axis=1).astype(np.float32)
    result = pictures.resized(array, (10, 50))
    np.testing.assert_allclose(result, np.repeat(array.reshape(10, 4, 20).mean(axis=(1, 2))[:, None], 50, 1), atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 1), (32, 48, 3), (32, 48, 4), (32, 48, 7)])
@pytest.mark.parametrize("size", [(16, 20), (50, 60), (32, 48)])
def test_any_number_of_channels_is_resampled_alike(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    array = np.random.default_rng(3).random(shape).astype(np.float32)
    result = pictures.resized(array, size)
    assert result.shape == size + shape[2:]
    assert result.dtype == np.float32
    if len(shape) == 3:
        alone = np.stack([pictures.resized(array[..., c], size) for c in range(shape[2])], axis=-1)
        np.testing.assert_allclose(result, alone, atol=1e-6)


def test_batches_there_and_back() -> None:
    rgb = np.random.default_rng(4).random((20, 30, 3)).astype(np.float32)
    batch = pictures.to_batch(rgb)
    assert (batch.shape, batch.dtype, batch.flags.c_contiguous) == ((1, 3, 20, 30), np.float32, True)
    assert batch[0, 1, 2, 3] == rgb[2, 3, 1]
    assert pictures.from_batch(batch).tolist() == rgb.tolist()
    assert pictures.from_batch(batch).flags.c_contiguous
    with pytest.raises(Error, match=r"\(1, 3, H, W\), got \(2, 3, 4, 4\)"):
        pictures.from_batch(np.zeros((2, 3, 4, 4)))


def test_to_uint8() -> None:
    steps = np.arange(256) / 255
    for values in (steps, steps.astype(np.float32), steps + 0.49 / 255, steps - 0.49 / 255):
        assert pictures.to_uint8(values).tolist() == list(range(256))
    assert pictures.to_uint8(np.array([-1.0, 2.0])).tolist() == [0, 255]
