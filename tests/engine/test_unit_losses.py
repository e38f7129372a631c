"""The losses of units: values and gradients against their float64 reference and against PyTorch."""

import numpy as np
import pytest
import torch
from stylogram import losses
from stylogram.errors import Error

N, C, H, W = 4, 5, 3, 6
RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((N, C, H, W)).astype("f4")
DIRECTIONS = RNG.standard_normal((N, C)).astype("f4")
SHARES = RNG.uniform(0, 1, H * W).astype("f4")
GUIDE = RNG.standard_normal((C, 4, 5)).astype("f4")


def diversity(x):
    flat = x.flatten(2)
    grams = flat @ flat.transpose(1, 2)
    unit = grams / grams.flatten(1).norm(dim=1)[:, None, None]
    total = 0
    for start in range(0, N, 2):
        total = total + 2 * (unit[start] * unit[start + 1]).sum() / 2
    return 0.7 * total


def guided(x):
    products = torch.einsum("ncp,cq->npq", x.flatten(2), torch.tensor(GUIDE).flatten(1))
    return -0.7 * products.max(dim=2).values.sum()


CASES = {
    "activation": (
        (DIRECTIONS, SHARES, 0.7),
        (DIRECTIONS.astype(float), SHARES.astype(float), 0.7),
        lambda x: -0.7 * torch.einsum("ncp,nc,p->", x.flatten(2), torch.tensor(DIRECTIONS), torch.tensor(SHARES)),
    ),
    "strength": (([0, 3], 0.7), ([0, 3], 0.7), lambda x: -0.35 * (x[:, [0, 3]] ** 2).sum()),
    "guide": ((GUIDE, 0.7), (GUIDE.reshape(C, -1).astype(float), 0.7), guided),
    "diversity": ((2, 0.7), (2, 0.7), diversity),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_reference_s_and_pytorch_s(name):
    given, exact, of = CASES[name]
    module = losses.load("unit", name)
    term = module.Term("layer", "tap", *given)
    value, gradient = np.zeros(N), np.full_like(FEATURES, 9)
    term.add(FEATURES, gradient, False, value)
    wanted, slope = module.reference(FEATURES.reshape(N, C, -1).astype(float), *exact)
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)  # the sums cancel: 100 products of about 1
    np.testing.assert_allclose(gradient.reshape(N, C, -1), slope, atol=1e-5 * np.abs(slope).max())
    x = torch.tensor(FEATURES.astype(float), requires_grad=True)
    total = of(x.float())
    total.backward()
    assert value.sum() == pytest.approx(float(total.detach()), rel=1e-5, abs=1e-4)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=1e-5 * np.abs(slope).max())
    again = gradient.copy()
    term.add(FEATURES, again, True, value)
    np.testing.assert_allclose(again, 2 * gradient, rtol=1e-5, atol=1e-6)


def test_without_shares_the_mean_over_positions_counts():
    module, value = losses.load("unit", "activation"), np.zeros(N)
    term = module.Term("layer", "tap", np.eye(C, dtype="f4")[[2] * N])
    term.add(FEATURES, np.zeros_like(FEATURES), False, value)
    np.testing.assert_allclose(value, -FEATURES[:, 2].mean(axis=(1, 2)), rtol=1e-5)


def test_diversity_counts_by_what_was_reached():
    """Its scale is the weight times the mean activation of a group, 0 where that is below 0; activation writes it."""
    activation = losses.load("unit", "activation").Term("layer", "tap", np.eye(C, dtype="f4")[[2] * N], None, 3.0)
    module = losses.load("unit", "diversity")
    follows = module.Term("layer", "tap", N, 0.5, activation.reached)
    value, gradient = np.zeros(N), np.zeros_like(FEATURES)
    activation.add(FEATURES, gradient, False, np.zeros(N))
    reached = 3 * FEATURES[:, 2].mean(axis=(1, 2))
    np.testing.assert_allclose(activation.reached, reached, rtol=1e-5)
    follows.add(FEATURES, gradient, False, value)
    scale = 0.5 * max(reached.mean(), 0)
    assert scale > 0
    flat = FEATURES.reshape(N, C, -1).astype(float)
    expected, slope = module.reference(flat, N, scale)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient.reshape(flat.shape), slope, rtol=1e-3, atol=1e-6 * np.abs(slope).max())
    activation.reached[:] = -1
    follows.add(FEATURES, gradient, False, value)
    assert not gradient.any()


def test_all_channels_are_deepdream_s_objective():
    value, gradient = np.zeros(N), np.zeros_like(FEATURES)
    losses.load("unit", "strength").Term("layer", "tap").add(FEATURES, gradient, False, value)
    np.testing.assert_allclose(value, -0.5 * (FEATURES.astype(float) ** 2).sum(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(gradient, -FEATURES)


def test_pictures_without_activations_have_no_texture_and_no_nan():
    value, gradient = np.zeros(2), np.zeros((2, C, H, W), np.float32)
    losses.load("unit", "diversity").Term("layer", "tap", 2).add(np.zeros_like(gradient), gradient, False, value)
    assert np.isfinite(gradient).all()
    assert (value == 0).all()
    with pytest.raises(Error, match="groups of at least 2"):
        losses.load("unit", "diversity").Term("layer", "tap", 1)
