"""The gradient of a max-pool without the places of its maxima, which TensorRT has not, in standard ONNX.

    dx = Σ_o shift_o([x_o = y, x_o' < y for all o' before o] · dy),  o: a place in the window, x_o: what lies there

The picture is sorted into s·s planes by SpaceToDepth (s: the stride), so that what lies at one place in all windows is
a part of one plane. The gradient goes to the first place that is the maximum, as ONNX's indices say; the planes are put
back by DepthToSpace.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .errors import Error
from .graph import attributes, fresh


class Writer:
    """Nodes and constants that are added to a graph, whose names are `taken`."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._zero = ""

    def op(self, op: str, inputs: Sequence[str], wanted: str, output: str = "", **stated: Any) -> str:
        name = output or fresh(wanted, self.taken)
        self.nodes.append(helper.make_node(op, list(inputs), [name], **stated))
        return name

    def constant(self, wanted: str, values: Any) -> str:
        name = fresh(wanted, self.taken)
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def nothing(self) -> str:
        self._zero = self._zero or self.constant("zero", np.float32(0))
        return self._zero


class Planes:
    """The nodes of one gradient: `node` is a CudaMaxPoolGradient of pooling.py, x (N,C,H,W) and dy (N,C,h,w)."""

    def __init__(self, node: onnx.NodeProto, shape: Sequence[int], made: Sequence[int], to: Writer) -> None:
        stated = attributes(node)
        self._x, self._gy = node.input
        self._output, self._positive = node.output[0], stated["positive"]
        self._to, self._op, self._constant = to, to.op, to.constant
        self._sizes, self._made, self._channels = list(shape[2:]), list(made[2:]), shape[1]
        self._kernel, self._before = list(stated["kernel_shape"]), list(stated["before"])
        strides = set(stated["strides"])
        self._stride: int = strides.pop()
        if strides or min(self._kernel) < self._stride:
            raise Error(
                f"the max-pool's gradient {node.name!r}: without indices, one stride that is no larger than the window "
                f"is accepted, got {list(stated['strides'])} and {self._kernel}"
            )
        reach = [-(-k // self._stride) for k in self._kernel]  # how many of a plane's numbers a window holds
        self._rest = [r - 1 for r in reach]
        self._whole = [self._stride * (m + r) for m, r in zip(self._made, self._rest, strict=True)]

    def write(self) -> None:
        """Put the nodes down."""
        parts, highest = self._parts(), self._highest()
        gradient = self._gy
        if self._positive:
            above = self._op("Greater", [highest, self._to.nothing()], f"{highest}:above")
            gradient = self._op("Where", [above, gradient, self._to.nothing()], f"{gradient}:above")
        sums: dict[int, str] = {}
        before = ""
        for at in np.ndindex(*self._kernel):
            here = self._op("Equal", [self._part(parts, at), highest], f"{self._x}:highest")
            first = self._op("And", [here, before], f"{self._x}:first") if before else here
            mine = self._spread(self._op("Where", [first, gradient, self._to.nothing()], f"{self._x}:gx"), at)
            plane = self._plane(at)
            sums[plane] = self._op("Add", [sums[plane], mine], f"{self._x}:sum") if plane in sums else mine
            other = self._op("Not", [here], f"{self._x}:other")
            before = self._op("And", [before, other], f"{self._x}:none") if before else other
        joined = sums[0]
        if self._stride > 1:
            joined = self._op("Concat", [sums[k] for k in sorted(sums)], f"{self._x}:joined", axis=1)
            joined = self._op("DepthToSpace", [joined], f"{self._x}:spread", blocksize=self._stride)
        before_here = [-b for b in self._before]
        after = [n + b - w for n, b, w in zip(self._sizes, self._before, self._whole, strict=True)]
        self._framed(joined, self._whole, before_here, after, "", self._output)

    def _highest(self) -> str:
        spans = [self._stride * (m - 1) + k for m, k in zip(self._made, self._kernel, strict=True)]
        after = [max(s - n - b, 0) for s, n, b in zip(spans, self._sizes, self._before, strict=True)]
        strides, pads = [self._stride] * 2, [*self._before, *after]
        wanted = f"{self._x}:pooled"
        return self._op("MaxPool", [self._x], wanted, kernel_shape=self._kernel, strides=strides, pads=pads)

    def _parts(self) -> list[str]:
        """The planes, of one number more than windows on each side that windows reach over."""
        after = [w - n - b for n, b, w in zip(self._sizes, self._before, self._whole, strict=True)]
        lowest = self._constant("lowest", np.float32(-np.inf)) if max(*after, *self._before) > 0 else ""
        source = self._framed(self._x, self._sizes, self._before, after, lowest)
        if self._stride == 1:
            return [source]
        planes = self._op("SpaceToDepth", [source], f"{source}:planes", blocksize=self._stride)
        parts = [fresh(f"{source}:part{k}", self._to.taken) for k in range(self._stride**2)]
        sizes = self._constant("channels", np.full(len(parts), self._channels, np.int64))
        self._to.nodes.append(helper.make_node("Split", [planes, sizes], parts, axis=1))
        return parts

    def _plane(self, at: Sequence[int]) -> int:
        return at[0] % self._stride * self._stride + at[1] % self._stride

    def _part(self, parts: Sequence[str], at: Sequence[int]) -> str:
        """What lies at one place of all windows."""
        plane = parts[self._plane(at)]
        if not any(self._rest):
            return plane
        starts = [a // self._stride for a in at]
        return self._cut(plane, starts, [s + m for s, m in zip(starts, self._made, strict=True)])

    def _spread(self, gradient: str, at: Sequence[int]) -> str:
        """The gradient at one place of all windows, as part of a plane."""
        if not any(self._rest):
            return gradient
        starts = [a // self._stride for a in at]
        after = [r - s for r, s in zip(self._rest, starts, strict=True)]
        return self._framed(gradient, self._made, starts, after, "")

    def _framed(
        self, name: str, sizes: Sequence[int], before: Sequence[int], after: Sequence[int], value: str, output: str = ""
    ) -> str:
        """With more on each side, or with less."""
        cuts = [max(-b, 0) for b in before], [n - max(-a, 0) for n, a in zip(sizes, after, strict=True)]
        more = [max(size, 0) for size in (*before, *after)]
        if any(cuts[0]) or list(sizes) != cuts[1]:
            name = self._cut(name, *cuts, "" if any(more) else output)
        elif output and not any(more):
            return self._op("Identity", [name], "", output)
        if not any(more):
            return name
        pads = self._constant("pads", np.array([0, 0, *more[:2], 0, 0, *more[2:]], np.int64))
        return self._op("Pad", [name, pads, *([value] if value else [])], f"{name}:framed", output)

    def _cut(self, name: str, starts: Sequence[int], ends: Sequence[int], output: str = "") -> str:
        read = [self._constant("cut", np.array(values, np.int64)) for values in (starts, ends, [2, 3])]
        return self._op("Slice", [name, *read], f"{name}:cut", output)
