"""Transforms: what they show, and their adjoints by the dot-product test."""

import numpy as np
import pytest
from stylogram.session import FeaturePass
from stylogram.transforms import GREY, Roll, Rolls, Sampling, Samplings, ViewedPass
from stylogram_export.preprocess import fold

from engine import nets

SIZE, CANVAS = (13, 17), (20, 19)
SAMPLINGS = {
    "whole": {},
    "shift": {"shift": (2.0, -3.0)},
    "half pixels": {"shift": (0.5, 1.25)},
    "zoom": {"zoom": 1.3},
    "shrink": {"zoom": 0.6},
    "turn": {"degrees": 33.0},
    "all": {"zoom": 1.1, "degrees": -10.0, "shift": (3.3, -1.7)},
}


def linear(transform, x, canvas):
    """A x: what apply gives without its constant."""
    out, none = np.zeros((*x.shape[:2], *canvas), np.float32), np.zeros((*x.shape[:2], *canvas), np.float32)
    transform.apply(x, out)
    transform.apply(np.zeros_like(x), none)
    return (out - none).astype(np.float64)


@pytest.mark.parametrize("factor", [1.0, 1.001])
@pytest.mark.parametrize("name", [*SAMPLINGS, "roll"])
def test_the_adjoint_is_exact(name, factor):
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ to float32's precision; one 0.1% off is noticed."""
    rng = np.random.default_rng(0)
    canvas = SIZE if name == "roll" else CANVAS
    transform = Roll(3, -5) if name == "roll" else Sampling(SIZE, CANVAS, **SAMPLINGS[name])
    x = rng.uniform(0.5, 1, (2, 3, *SIZE)).astype("f4")
    y = rng.uniform(0.5, 1, (2, 3, *canvas)).astype("f4")
    back = np.zeros_like(x)
    transform.adjoint(y, back)
    one, two = (linear(transform, x, canvas) * y).sum(), (x.astype(np.float64) * back).sum() * factor
    assert (abs(one - two) < 1e-4 * abs(one)) == (factor == 1.0), (one, two)


def test_unmoved_it_is_the_picture_in_grey():
    x = np.random.default_rng(0).uniform(0, 1, (1, 3, 4, 6)).astype("f4")
    out = np.zeros((1, 3, 8, 10), np.float32)
    Sampling((4, 6), (8, 10)).apply(x, out)
    expected = np.full_like(out, GREY)
    expected[:, :, 2:6, 2:8] = x
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_quarter_turn_is_numpy_s():
    x = np.random.default_rng(0).uniform(0, 1, (1, 1, 7, 7)).astype("f4")
    out = np.zeros_like(x)
    Sampling((7, 7), (7, 7), degrees=90).apply(x, out)
    turned = [np.rot90(x, k, (2, 3)) for k in (1, -1)]
    assert min(np.abs(out - t).max() for t in turned) < 1e-5


def test_draws_stay_within_their_bounds_and_differ():
    rng = np.random.default_rng(0)
    rolls = [Rolls(4).draw(rng, SIZE, SIZE) for _ in range(200)]
    assert {r.down for r in rolls} == set(range(-4, 5))
    assert {r.right for r in rolls} == set(range(-4, 5))
    x = np.random.default_rng(1).uniform(0, 1, (1, 3, *SIZE)).astype("f4")
    seen = []
    for _ in range(2):
        out = np.zeros((1, 3, *CANVAS), np.float32)
        Samplings(8, 0.1, 10).draw(rng, SIZE, CANVAS).apply(x, out)
        seen.append(out)
    assert np.abs(seen[0] - seen[1]).max() > 0.1


def test_without_zoom_and_turn_pixels_stay_whole():
    x = np.random.default_rng(1).uniform(0, 1, (1, 3, *SIZE)).astype("f4")
    for _ in range(5):
        out = np.zeros((1, 3, 21, 24), np.float32)
        Samplings(8).draw(np.random.default_rng(2), SIZE, (21, 24)).apply(x, out)
        assert set(np.unique(out)) <= {*np.unique(x), np.float32(GREY)}


def test_a_viewed_pass_is_the_pass_of_what_is_seen():
    network = nets.narrow()
    model, tap = fold(network.model, network.preprocess), network.layers.tensor("conv2_1")
    views = Samplings(4, 0.1, 10)
    viewed = ViewedPass(model, [tap], (1, 3, *SIZE), views, np.random.default_rng(3), canvas=(24, 24))
    x = np.random.default_rng(0).uniform(0, 1, (1, 3, *SIZE)).astype("f4")
    viewed.picture[:] = x
    viewed.forward()
    gy = np.random.default_rng(4).standard_normal(viewed.features[tap].shape).astype("f4")
    viewed.gradients[tap][:] = gy
    viewed.backward()
    plain = FeaturePass(model, [tap], (1, 3, 24, 24))
    same = views.draw(np.random.default_rng(3), SIZE, (24, 24))
    same.apply(x, plain.picture)
    plain.forward()
    plain.gradients[tap][:] = gy
    plain.backward()
    back = np.zeros_like(x)
    same.adjoint(plain.gradient, back)
    np.testing.assert_allclose(viewed.features[tap], plain.features[tap], atol=1e-6)
    np.testing.assert_allclose(viewed.gradient, back, atol=1e-6)
    assert np.abs(back).max() > 0
