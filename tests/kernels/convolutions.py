"""Convolutions with channels last, and what goes back through them: cases and references, for tests that cuDNN runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

#: Filters (K,R,S,C/groups), pads, strides, dilations, groups.
CONVOLUTIONS = [
    ((8, 3, 3, 5), (1, 1), (1, 1), (1, 1), 1),
    ((6, 1, 1, 4), (0, 0), (1, 1), (1, 1), 1),
    ((4, 5, 3, 3), (2, 0), (2, 3), (1, 1), 1),
    ((6, 3, 3, 2), (2, 2), (1, 1), (2, 2), 2),
]
#: The same, and the size of the pictures that are convolved: gradients go back to them, also where the last rows, or
#: those between filters, are read by none.
TRANSPOSED = [
    (((8, 3, 3, 5), (1, 1), (2, 2), (1, 1), 1), (9, 11)),
    (((8, 3, 3, 5), (1, 1), (2, 2), (1, 1), 1), (10, 12)),
    (((4, 11, 11, 3), (2, 2), (4, 4), (1, 1), 1), (23, 26)),
    (((6, 1, 1, 4), (0, 0), (2, 2), (1, 1), 1), (8, 9)),
    (((4, 5, 3, 3), (2, 0), (3, 2), (1, 1), 1), (10, 11)),
    (((6, 3, 3, 2), (2, 2), (2, 3), (2, 2), 2), (12, 14)),
    (((8, 3, 3, 1), (1, 1), (2, 2), (1, 1), 8), (9, 10)),
    (((5, 2, 2, 3), (0, 0), (3, 3), (1, 1), 1), (11, 10)),
]
#: As networks have them.
LARGE = [
    ((64, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 3, 3, 64), (1, 1), (1, 1), (1, 1), 1),
    ((64, 3, 3, 64), (1, 1), (1, 1), (1, 1), 1),
    ((512, 3, 3, 256), (1, 1), (1, 1), (1, 1), 1),
    ((128, 1, 1, 512), (0, 0), (1, 1), (1, 1), 1),
    ((96, 7, 7, 3), (3, 3), (2, 2), (1, 1), 1),
    ((64, 3, 3, 1), (1, 1), (1, 1), (1, 1), 64),
]
LARGE_TRANSPOSED = [
    (((96, 7, 7, 3), (3, 3), (2, 2), (1, 1), 1), (128, 193)),
    (((96, 11, 11, 3), (0, 0), (4, 4), (1, 1), 1), (129, 194)),
    (((128, 3, 3, 64), (1, 1), (2, 2), (1, 1), 1), (64, 97)),
    (((512, 1, 1, 256), (0, 0), (2, 2), (1, 1), 1), (32, 45)),
    (((64, 3, 3, 2), (1, 1), (2, 2), (1, 1), 32), (32, 45)),
]


def convolved(x: Any, w: Any, bias: Any, case: Any) -> Any:
    """(N,C,H,W) and (K,C/groups,R,S) -> (N,K,P,Q), as torch has it."""
    _, pads, strides, dilations, groups = case
    return torch.nn.functional.conv2d(x, w, bias, strides, pads, dilations, groups)


def places(case: Any, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of what a convolution makes of pictures of this size, and how many rows and columns are left over."""
    (_, r, s, _), pads, strides, dilations, _ = case
    (h, v), (p, q), (d, e) = size, pads, dilations
    down, across = divmod(h + 2 * p - d * (r - 1) - 1, strides[0]), divmod(v + 2 * q - e * (s - 1) - 1, strides[1])
    return (down[0] + 1, across[0] + 1), (down[1], across[1])


def transposed(x: Any, w: Any, bias: Any, case: Any, size: tuple[int, int]) -> Any:
    """(N,K,P,Q) and (K,C/groups,R,S) -> (N,C,H,W) of this size, as torch has it."""
    _, pads, strides, dilations, groups = case
    left = places(case, size)[1]
    return torch.nn.functional.conv_transpose2d(x, w, bias, strides, pads, left, groups, dilations)


def assert_near(got: Any, wanted: Any, kind: str) -> None:
    """Products of float32 may be TF32's, of 10 bits; the sum is rounded once, or twice where the bias comes behind."""
    most = {"float32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}[kind]
    assert np.linalg.norm(got - wanted) < most * np.linalg.norm(wanted)
    assert np.abs(got - wanted).max() < 4 * most * max(1, np.abs(wanted).max())


def is_usual(case: Any) -> bool:
    """Whether networks that we run are full of such: channels as tensor cores want them, or a picture's three."""
    (filters, _, _, channels), _, _, dilations, groups = case
    return groups == 1 and dilations == (1, 1) and all(size % 8 == 0 or size == 3 for size in (filters, channels))


@contextmanager
def unless_refused(case: Any) -> Iterator[None]:
    """Skips where cuDNN has no engine for a case that is not usual: that is cuDNN's to say, and no fault of ours."""
    try:
        yield
    except Exception as problem:
        if not is_usual(case) and "cuDNN has no engine" in str(problem):
            pytest.skip(str(problem))
        raise
