"""The loss after many iterations in narrow numbers over that in float32, without a GPU.

    python -m stylogram_bench.narrow OUT.json --content CONTENT --style STYLE NETWORK:SIZE ...

The graphs are those that a GPU gets, channels last and our ops; PyTorch computes them on the CPU, each tensor rounded
as it is there. Losses and optimiser are the CPU's, in float32, but that L-BFGS keeps its pairs in float16 for a narrow
network, as there. NETWORK is a name or a file, as for `stylogram stylize`.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from stylogram import stylize
from stylogram.devices.graphs import Place, derivative_for
from stylogram.session import Shape, output_shapes
from stylogram.stages import StagedPass
from stylogram.tasks import stylize as task
from stylogram_export.graph import attributes
from stylogram_export.precision import LEAST
from torch import Tensor
from torch.nn import functional

from . import compare

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def constant(tensor: onnx.TensorProto) -> Tensor:
    """An initialiser."""
    if tensor.data_type == TensorProto.BFLOAT16:
        bits = np.frombuffer(tensor.raw_data, np.int16).reshape(tuple(tensor.dims)).copy()
        return torch.from_numpy(bits).view(torch.bfloat16)
    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


class Graph:
    """One of the pair. A picture between its nodes is (N,C,H,W), in the narrow type."""

    def __init__(self, model: onnx.ModelProto, kind: torch.dtype) -> None:
        nodes = model.graph.node
        filters = {node.input[1] for node in nodes if node.op_type.startswith("CudaConv")}  # (K,R,S,C)
        values = {tensor.name: constant(tensor) for tensor in model.graph.initializer}
        self._constants = {
            name: value.float().permute(0, 3, 1, 2) if name in filters else value for name, value in values.items()
        }
        self._nodes = [(node.op_type, list(node.input), node.output[0], attributes(node)) for node in nodes]
        self._kind = kind
        self.outputs = [value.name for value in model.graph.output]

    def run(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        made = {**self._constants, **given}
        for op, inputs, output, stated in self._nodes:
            made[output] = self._computed(op, [made[name] for name in inputs], stated)
        return {name: made[name] for name in self.outputs}

    def _computed(self, op: str, given: Sequence[Tensor], stated: dict[str, Any]) -> Tensor:
        x, more = given[0], given[1:]
        unit: Any = more[0].clamp(min=LEAST) if more and op.startswith(("CudaNarrow", "CudaWiden")) else 1.0
        match op.removesuffix("BFloat16"):
            case "Sub":
                return x - more[0]
            case "CudaNarrow":
                return torch.mul(x, stated["scale"] / unit).to(self._kind)
            case "CudaWiden":
                return torch.mul(x.float(), stated["scale"] * unit)
            case "CudaPeak":
                peak = x.abs().amax((1, 2, 3), keepdim=True)
                return torch.maximum(peak, more[0]) if more else peak
        wide = [tensor.float() for tensor in given]
        return self._picture(op, wide, stated).to(self._kind)

    def _picture(self, op: str, given: Sequence[Tensor], stated: dict[str, Any]) -> Tensor:
        x, *more = given
        match op:
            case "Add":
                return x + more[0]
            case "Relu":
                return x.relu()
            case "CudaReluGradient":
                return torch.where(x > 0, sum(more[1:], more[0]), 0)
            case "CudaConv":
                strides, pads, dilations = stated["strides"], stated["pads"], stated["dilations"]
                bias, groups = more[1] if len(more) > 1 else None, x.shape[1] // more[0].shape[1]
                y = functional.conv2d(x, more[0], bias, strides, pads, dilations, groups)
                return y.relu() if stated["relu"] else y
            case "CudaConvTranspose":
                bias, left = more[1] if len(more) > 1 else None, _left_over(more[0], stated)
                strides, pads, dilations = stated["strides"], stated["pads"], stated["dilations"]
                return functional.conv_transpose2d(x, more[0], bias, strides, pads, left, stated["group"], dilations)
            case "CudaMaxPool":
                return _max_pool(x, stated)
            case "CudaMaxPoolGradient":
                with torch.enable_grad():
                    x = x.requires_grad_()
                    (found,) = torch.autograd.grad(_max_pool(x, stated), x, more[0])
                return torch.where(x > 0, found, 0) if stated["positive"] else found
            case "CudaAveragePool":
                return functional.avg_pool2d(x, stated["kernel_shape"], stated["strides"])
            case "CudaAveragePoolGradient":
                (height, width), (down, right) = stated["sizes"], stated["strides"]
                if stated["kernel_shape"] != stated["strides"]:
                    raise SystemExit("narrow: averages over windows side by side are known here")
                spread = x.repeat_interleave(down, 2).repeat_interleave(right, 3) * stated["scale"]
                return functional.pad(spread, (0, width - spread.shape[3], 0, height - spread.shape[2]))
            case other:
                raise SystemExit(f"narrow: {other} is not known here")


def _left_over(weights: Tensor, stated: dict[str, Any]) -> list[int]:
    """The rows and columns at the end of a picture that a convolution with these weights does not reach."""
    each = zip(*(stated[word] for word in ("sizes", "pads", "dilations", "strides")), weights.shape[2:], strict=True)
    return [(size + 2 * pad - dilation * (kernel - 1) - 1) % stride for size, pad, dilation, stride, kernel in each]


def _max_pool(x: Tensor, stated: dict[str, Any]) -> Tensor:
    if any(stated["before"]):
        raise SystemExit("narrow: max-pools without pads are known here")
    return functional.max_pool2d(x, stated["kernel_shape"], stated["strides"])


class Narrow:
    """In the place of stages.StagedPass."""

    def __init__(self, precision: str, model: onnx.ModelProto, taps: Sequence[str], shape: Shape, **_: Any) -> None:
        queue: Any = None  # of a GPU that nobody asks
        pair = derivative_for(model, taps, shape, "gradient", Place("cuda", queue, precision, layout="ours"))
        self._forward, self._backward = (Graph(part, KINDS[precision]) for part in (pair.forward, pair.backward))
        self._input = pair.forward.graph.input[0].name
        self._made: dict[str, Tensor] = {}
        self.taps, self.shape = tuple(taps), shape
        self.picture, self.gradient = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        sizes = output_shapes(pair.forward)
        self.shapes = {tap: sizes[tap] for tap in taps}
        self.features = {tap: np.zeros(sizes[tap], np.float32) for tap in taps}
        self.gradients = {tap: np.zeros(sizes[tap], np.float32) for tap in taps}

    @torch.no_grad()
    def forward(self) -> None:
        self._made = self._forward.run({self._input: torch.from_numpy(self.picture)})
        for tap in self.taps:
            self.features[tap][:] = self._made[tap].numpy()

    def descend(self) -> Iterator[tuple[str, ...]]:
        yield self.taps
        with torch.no_grad():
            gradients = {f"gy:{tap}": torch.from_numpy(self.gradients[tap]) for tap in self.taps}
            self.gradient[:] = self._backward.run(self._made | gradients)["gx"].numpy()


def measure(pair: Sequence[Path], network: str, size: int, iterations: int) -> dict[str, Any]:
    """The last loss in float32, and what the narrow ones are of it."""
    found: dict[str, Any] = {"network": Path(network).stem, "size": size, "iterations": iterations}
    wanted = 0.0
    for precision in ("fp32", *KINDS):
        # Within each call of stylize, which makes one pass: a single scale.
        made: Any = StagedPass if precision == "fp32" else lambda *a, p=precision, **k: Narrow(p, *a, **k)
        pairs = None if precision == "fp32" else "float16"  # as on a GPU
        with patch.object(task, "StagedPass", made):
            started = time.perf_counter()
            result = stylize(*pair, network=network, size=size, scales=1, iterations=iterations, device="cpu",
                             history_precision=pairs)  # fmt: skip
        loss = min(row["loss"] for row in result.trace)
        wanted = wanted or loss
        found[precision] = {"loss": loss, "over_fp32": loss / wanted, "seconds": time.perf_counter() - started}
        print(found["network"], precision, found[precision], flush=True)
    return found


def main() -> None:
    """Measure, print a line each, write the record."""
    parser = argparse.ArgumentParser(prog="stylogram_bench.narrow")
    parser.add_argument("output", type=Path)
    parser.add_argument("cases", nargs="+", metavar="NETWORK:SIZE")
    parser.add_argument("--content", type=Path, required=True)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=300)
    given = parser.parse_args()
    results = []
    for case in given.cases:
        network, _, size = case.rpartition(":")
        results.append(measure([given.content, given.style], network, int(size), given.iterations))
    compare.write(given.output, {"what": (__doc__ or "").splitlines()[0], "results": results})


if __name__ == "__main__":
    main()
