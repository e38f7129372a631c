"""The first filters: independent components of patches of the pictures.

Bell and Sejnowski (1997), "The 'independent components' of natural scenes are edge filters": oriented edges, gratings
and blobs of colour. Left to itself, a first layer that is normalised afterwards keeps the noise that it began with.
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.decomposition import FastICA
from torch import Tensor


def first_filters(pictures: NDArray[np.floating], count: int, side: int, patches: int, seed: int) -> Tensor:
    """`count` filters (count,3,side,side) of norm one, from `patches` patches of pictures (N,3,H,W).

    Of the 3·side² principal directions of the patches, the `count` that vary most are taken apart into components.
    """
    rng = np.random.default_rng([seed, 4])
    n, _, height, width = pictures.shape
    number, y, x = (rng.integers(0, many, patches) for many in (n, height - side, width - side))
    flat = sliding_window_view(pictures, (side, side), (2, 3))[number, :, y, x].reshape(patches, -1)
    found = FastICA(count, whiten="unit-variance", max_iter=400, tol=1e-3, random_state=seed).fit(flat.astype(float))
    filters = found.components_ / np.linalg.norm(found.components_, axis=1, keepdims=True)
    return torch.from_numpy(filters.reshape(count, 3, side, side).astype(np.float32))
