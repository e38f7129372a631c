"""The painting of the demo: the same twice, and made of strokes."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from stylogram.paint import painting


def coherence(rgb: npt.NDArray[np.uint8]) -> float:
    """How one-directional the picture is around a point: 0 for noise, 1 for lines (from the structure tensor)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 4) for product in (dx * dx, dy * dy, dx * dy))
    return float((np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-3)).mean())


@pytest.fixture(scope="module")
def default() -> npt.NDArray[np.uint8]:
    return painting()


def test_a_seed_gives_one_picture(default: npt.NDArray[np.uint8]) -> None:
    assert (default.shape, default.dtype) == ((384, 512, 3), np.uint8)
    np.testing.assert_array_equal(painting(), default)
    small = painting((96, 60), seed=1)
    assert small.shape == (96, 60, 3)
    assert (painting((96, 60), seed=2) != small).mean() > 0.5


def test_it_is_painted_with_strokes(default: npt.NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, default.shape).astype(np.uint8)
    assert coherence(default) > 0.5 > 2 * coherence(noise)
    # Strokes differ from their surroundings, unlike in the smooth scene that they follow: relief and bristles.
    detail = default.astype(float) - cv2.GaussianBlur(default, (0, 0), 4)
    assert detail.std() > 15


def test_its_palette_is_rich(default: npt.NDArray[np.uint8]) -> None:
    hue, saturation, _ = cv2.split(cv2.cvtColor(default, cv2.COLOR_RGB2HSV))
    shares = np.histogram(hue[saturation > 80], bins=6, range=(0, 180))[0] / hue.size
    assert (shares > 0.01).sum() >= 4
    assert default.std() > 50
