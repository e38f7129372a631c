"""Ops that onnx's reference implementation (1.23) computes wrongly or not in float64, written out for the checks."""

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


class MaxPool(OpRun):
    """With Indices. The reference gives wrong ones at padded borders."""

    op_domain = ""

    def _run(self, x: Array, **stated: Any) -> tuple[Array, ...]:
        rank = x.ndim - 2
        kernel, strides = stated["kernel_shape"], stated.get("strides") or [1] * rank
        pads, dilations = stated.get("pads") or [0] * 2 * rank, stated.get("dilations") or [1] * rank
        whole = [n + a + b for n, a, b in zip(x.shape[2:], pads[:rank], pads[rank:], strict=True)]
        counts = []
        for axis, (n, k, s, d) in enumerate(zip(whole, kernel, strides, dilations, strict=True)):
            left = n - d * (k - 1) - 1
            count = (-(-left // s) if stated.get("ceil_mode") else left // s) + 1
            counts.append(count - ((count - 1) * s >= x.shape[axis + 2] + pads[axis]))  # none may start in the end pads
        values, places = np.empty((*x.shape[:2], *counts), x.dtype), np.empty((*x.shape[:2], *counts), np.int64)
        for place in np.ndindex(values.shape):
            spots = [
                [i for i in (o * s - p + d * j for j in range(k)) if 0 <= i < n]
                for o, s, p, d, k, n in zip(place[2:], strides, pads, dilations, kernel, x.shape[2:], strict=False)
            ]
            first = max(itertools.product(*spots), key=lambda spot: x[(*place[:2], *spot)])
            values[place] = x[(*place[:2], *first)]
            places[place] = np.ravel_multi_index((*place[:2], *first), x.shape)
        return (values, places)[: len(self.output)]


class ConvTranspose(OpRun):
    """The reference puts the groups' channels in the wrong places."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **stated: Any) -> tuple[Array]:
        rank = x.ndim - 2
        assert stated.get("auto_pad", "NOTSET") == "NOTSET"
        assert not stated.get("output_shape")
        pads = stated.get("pads") or [0] * 2 * rank
        extra = stated.get("output_padding") or [0] * rank
        words = {"strides": "stride", "dilations": "dilation", "group": "groups"}
        given = {word: stated[name] for name, word in words.items() if stated.get(name)}
        tensors = [None if t is None else torch.from_numpy(np.array(t)) for t in (x, w, b)]
        whole = getattr(torch.nn.functional, f"conv_transpose{rank}d")(*tensors, **given).numpy()
        whole = np.pad(whole, [(0, 0), (0, 0), *((0, n) for n in extra)])
        ends = [n - after for n, after in zip(whole.shape[2:], pads[rank:], strict=True)]
        return (whole[(..., *(slice(a, e) for a, e in zip(pads, ends, strict=False)))],)


class Erf(OpRun):
    """The reference rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (torch.erf(torch.from_numpy(np.array(x))).numpy(),)


class GlobalMaxPool(OpRun):
    """The reference takes the wrong axes unless there are two positions' axes."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LpNormalization(OpRun):
    """The reference forgets the absolute value for p = 1."""

    op_domain = ""

    def _run(self, x: Array, axis: int = -1, p: int = 2) -> tuple[Array]:
        return (x / np.linalg.norm(x, ord=p, axis=axis, keepdims=True),)


class LRN(OpRun):
    """The reference sums over as many channels as there are pictures."""

    op_domain = ""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:
        low, high = (size - 1) // 2, size // 2
        total = np.stack([(x[:, max(c - low, 0) : c + high + 1] ** 2).sum(axis=1) for c in range(x.shape[1])], axis=1)
        return (x / (bias + alpha / size * total) ** beta,)


class Pad(OpRun):
    """The reference refuses negative pads."""

    op_domain = ""

    def _run(self, x: Array, pads: Array, value: Any = None, axes: Any = None, mode: str = "constant") -> tuple[Array]:
        chosen = list(range(x.ndim)) if axes is None else [int(axis) % x.ndim for axis in axes]
        grown = [(0, 0)] * x.ndim
        for axis, before, after in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
            ends = slice(max(-int(before), 0), x.shape[axis] - max(-int(after), 0))
            x = x[(slice(None),) * axis + (ends,)]
            grown[axis] = (max(int(before), 0), max(int(after), 0))
        words = {"constant_values": 0 if value is None else value} if mode == "constant" else {}
        return (np.pad(x, grown, mode=mode, **words),)


class MaxUnpool(OpRun):
    """Given an output_shape, the reference counts the indices through another shape; the runtimes through that one."""

    op_domain = ""

    def _run(self, x: Array, places: Array, shape: Array | None = None, **stated: Any) -> tuple[Array]:
        if shape is None:
            rank = x.ndim - 2
            pads, strides = stated.get("pads") or [0] * 2 * rank, stated.get("strides") or [1] * rank
            ends = zip(x.shape[2:], strides, stated["kernel_shape"], pads[:rank], pads[rank:], strict=True)
            shape = np.asarray([*x.shape[:2], *((n - 1) * s + k - a - b for n, s, k, a, b in ends)])
        made = np.zeros(int(np.prod(shape)), x.dtype)
        made[places.ravel()] = x.ravel()
        return (made.reshape(shape),)


MENDED = [MaxPool, MaxUnpool, ConvTranspose, Erf, GlobalMaxPool, LpNormalization, LRN, Pad]
