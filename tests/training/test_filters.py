"""The first filters."""

import numpy as np
from stylogram_training.filters import first_filters


def test_they_are_what_takes_mixed_components_apart() -> None:
    rng = np.random.default_rng(0)
    mixture = np.linalg.qr(rng.standard_normal((12, 12)))[0] * rng.uniform(0.5, 2, 12)
    patches = rng.laplace(size=(20000, 12)) @ mixture.T
    pictures = np.zeros((len(patches), 3, 3, 3), np.float32)
    pictures[:, :, :2, :2] = patches.reshape(-1, 3, 2, 2)
    filters = first_filters(pictures, 12, 2, 20000, seed=0)
    assert filters.shape == (12, 3, 2, 2)
    wanted = np.linalg.inv(mixture)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    alike = np.abs(filters.numpy().reshape(12, -1) @ wanted.T)
    assert (alike.max(1) > 0.99).all()
    assert sorted(alike.argmax(1)) == list(range(12))
