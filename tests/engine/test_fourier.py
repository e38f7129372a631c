"""The Fourier picture against NumPy's FFT written out, and its gradient against central differences."""

import numpy as np
import pytest
from stylogram.fourier import COLOURS, FourierOptimiser, FourierPicture, frequencies
from stylogram.optimise import Settings

SHAPES = [(2, 3, 8, 10), (1, 3, 7, 9), (1, 3, 9, 6), (1, 3, 6, 7)]


def made(shape, seed=0, loud=30.0):
    """A picture whose coefficients are large enough for the sigmoid to bend."""
    pictures = FourierPicture(shape, np.random.default_rng(seed))
    pictures.parameters *= loud
    return pictures


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_inverse_transform_written_out(shape):
    """Σ_k over the whole plane of Hermitian coefficients, by the definition of the discrete Fourier transform."""
    pictures, (_, _, h, w) = made(shape), shape
    half = (pictures.parameters[..., 0] + 1j * pictures.parameters[..., 1]).astype(complex)
    f = np.sqrt(np.fft.fftfreq(h)[:, None] ** 2 + np.fft.fftfreq(w)[: w // 2 + 1] ** 2)
    half *= np.sqrt(h * w) / np.maximum(f, 1 / max(h, w))
    rows = np.exp(2j * np.pi * np.outer(np.arange(h), np.arange(h)) / h)
    columns = np.exp(2j * np.pi * np.outer(np.arange(w // 2 + 1), np.arange(w)) / w)
    both = np.full(w // 2 + 1, 2.0)
    both[0] = 1
    both[-1] = 1 if w % 2 == 0 else 2
    plain = np.einsum("ky,nckl,l,lx->ncyx", rows, half, both, columns).real / (h * w) / 4
    expected = 1 / (1 + np.exp(-np.einsum("rc,nchw->nrhw", COLOURS, plain)))
    out = np.zeros(shape, np.float32)
    pictures.render(out)
    assert out.std() > 0.02
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_the_gradient_is_the_central_difference(shape, factor):
    """⟨pull(g), v⟩ = d/dt ⟨g, render(z + t v)⟩, in float32 parameters; a gradient 0.1% off is noticed."""
    pictures, rng = made(shape), np.random.default_rng(1)
    g, v = rng.standard_normal(shape), rng.standard_normal(pictures.parameters.shape)
    start, out, values = pictures.parameters.copy(), np.zeros(shape, np.float64), []
    for sign in (1, -1):
        pictures.parameters[:] = start + sign * 1e-2 * v
        moved = pictures.parameters.astype(np.float64) - start
        pictures.render(out)
        values.append(((g * out).sum(), moved))
    slope = values[0][0] - values[1][0]
    pictures.parameters[:] = start
    pictures.render(out)
    linear = (pictures.pull(g.astype(np.float32)) * factor * (values[0][1] - values[1][1])).sum()
    assert (abs(linear - slope) < 5e-4 * abs(slope)) == (factor == 1.0), (linear, slope)


def test_the_colours_are_the_square_root_of_their_correlation():
    """The first axis is brightness and varies the most; the longest column has length 1."""
    lengths = np.linalg.norm(COLOURS, axis=0)
    assert lengths.max() == pytest.approx(1)
    assert list(lengths) == sorted(lengths, reverse=True)
    assert (COLOURS[:, 0] > 0).all()


def test_frequencies_are_cycles_a_pixel():
    f = frequencies(8, 6)
    assert f.shape == (8, 4)
    assert f[0, 0] == 0
    assert f[4, 0] == 0.5
    assert f[0, 3] == 0.5


def test_the_optimiser_descends_in_the_coefficients():
    pictures = made((1, 3, 8, 8), loud=1)
    x = np.zeros((1, 3, 8, 8), np.float32)
    pictures.render(x)
    target = np.zeros_like(x) + np.float32(0.7)
    optimiser = FourierOptimiser(pictures, Settings("adam", 0.1))
    before = ((x - target) ** 2).sum()
    for _ in range(150):
        optimiser.step(x, 2 * (x - target), np.zeros(1))
    assert ((x - target) ** 2).sum() < 0.02 * before
    assert x.min() > 0
    assert x.max() < 1


def test_coefficients_beyond_measure_are_black_and_white_without_a_warning():
    made = FourierPicture((1, 3, 16, 16), np.random.default_rng(0))
    made.parameters *= 1e9
    picture = np.empty(made.shape, np.float32)
    made.render(picture)
    assert np.isin(picture, (0, 1)).all()
