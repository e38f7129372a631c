"""Resize: y = A x along each axis, A the weights of nearest, linear or cubic sampling; dx = Aᵀ dy.

Nearest enlargement by whole numbers sums blocks: a convolution with ones, its stride the block, one filter a channel.
"""

from typing import Any

import numpy as np

from ..graph import Array
from ..rules import Example
from ..sampling import Sampling
from ..step import Step

ops = ("Resize",)


def vjp(step: Step) -> str:
    sampling = Sampling(step)
    blocks = sampling.blocks()
    if blocks is not None:
        ones = step.const(np.ones((step.size(1), 1, *blocks)), "ones")
        return step.op("Conv", step.gy, ones, kernel_shape=blocks, strides=blocks, group=step.size(1))
    gx = step.gy
    for position, axis in enumerate(sampling.axes):
        if not sampling.still(position):
            gx = _contracted(step, gx, axis, sampling.matrix(position, step.size(axis)))
    return gx


def _contracted(step: Step, gradient: str, axis: int, weights: Array) -> str:
    """Aᵀ along an axis: a product from the right for the last one, from the left for the one before it."""
    last = len(step.shape()) - 1
    if axis == last:
        return step.op("MatMul", gradient, step.const(weights, f"axis{axis}"), name="shrunk")
    if axis == last - 1:
        return step.op("MatMul", step.const(np.ascontiguousarray(weights.T), f"axis{axis}"), gradient, name="shrunk")
    order = [*range(axis), *range(axis + 1, last + 1), axis]
    turned = step.op("Transpose", gradient, name="turned", perm=order)
    shrunk = step.op("MatMul", turned, step.const(weights, f"axis{axis}"), name="shrunk")
    return step.op("Transpose", shrunk, perm=np.argsort(order).tolist())


def _case(
    title: str, scales: tuple[float, float] | None, torch: Any = None, size: Any = None, **stated: Any
) -> Example:
    given = np.asarray([1, 1, *scales], np.float32) if scales else None
    sizes = np.asarray([2, 3, *size]) if size else None
    inputs = [(2, 3, 5, 6), stated.pop("roi", None), given, *([sizes] if size else [])]
    return Example("Resize", inputs, stated, torch=torch, title=title)


def _torch(mode: str, **stated: Any) -> Any:
    def same(t: Any, x: Any, *rest: Any) -> Any:
        scales, sizes = ((rest[-1][2:].tolist(), None), (None, rest[-1][2:].tolist()))[rest[-1].dtype == t.int64]
        words = {"scale_factor": scales, "recompute_scale_factor": False} if scales else {"size": sizes}
        return t.nn.functional.interpolate(x, mode=mode, **words, **stated)

    return same


FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CORNERS = {"coordinate_transformation_mode": "align_corners"}

examples = [
    _case("double", (2, 2), _torch("nearest"), **FLOOR),
    _case("double, half pixel", (3, 2), _torch("nearest-exact")),
    _case("nearest, other sizes", None, _torch("nearest"), size=(8, 4), **FLOOR),
    _case("nearest, up", (1.6, 1.3), nearest_mode="round_prefer_ceil"),
    _case("nearest, ceil", (0.6, 2.5), nearest_mode="ceil", coordinate_transformation_mode="asymmetric"),
    _case("linear", (2, 2), _torch("bilinear", align_corners=False), mode="linear"),
    _case(
        "linear, down",
        (0.6, 0.5),
        _torch("bilinear"),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    _case("linear, corners", None, _torch("bilinear", align_corners=True), size=(9, 4), mode="linear", **CORNERS),
    _case("linear, asymmetric", (1.4, 2.0), mode="linear", coordinate_transformation_mode="asymmetric"),
    _case("cubic", (2, 1.5), _torch("bicubic"), mode="cubic"),
    _case("cubic, corners", None, _torch("bicubic", align_corners=True), size=(9, 4), mode="cubic", **CORNERS),
    _case(
        "crop",
        (2, 2),
        mode="linear",
        roi=np.asarray([0, 0, 0.2, -0.3, 1, 1, 0.9, 0.7]),
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=3.0,
    ),
    _case("linear, symmetric", (1.5, 0.7), mode="linear", coordinate_transformation_mode="half_pixel_symmetric"),
    _case("linear, antialiased", (0.6, 0.7), mode="linear", antialias=1),
    _case(
        "cubic, antialiased",
        None,
        _torch("bicubic", antialias=True),
        size=(3, 2),
        mode="cubic",
        antialias=1,
        exclude_outside=1,
        cubic_coeff_a=-0.5,
    ),
    Example(
        "Resize",
        [(2, 3, 5, 6), None, None, np.asarray([10, 9])],
        {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        title="linear, aspect kept",
    ),
    Example("Resize", [(2, 4, 5), None, np.asarray([2, 1.5, 1], np.float32)], {"mode": "linear"}, title="leading axes"),
    _case("cubic, inside only", (1.7, 0.6), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
]
