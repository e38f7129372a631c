"""How exact the convolutions are: features and the style loss's gradient against the same network in float64.

    python -m stylogram_bench.exactness OUT.json vgg19:128 vgg19:256 seednet:256

The gradient jumps where a ReLU or a maximum changes sides. Its error as a whole therefore says how many did; the error
at the median pixel says how exact the rest is.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from stylogram.session import CONVOLUTIONS, FeaturePass
from stylogram_export.graph import attributes

from . import compare
from .convolutions import network

Tensors = dict[str, torch.Tensor]


def tensors(model: onnx.ModelProto, x: torch.Tensor) -> Tensors:
    """Every tensor of a chain of convolutions, ReLUs and pools, in x's type."""
    fixed = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()).to(x.dtype) for t in model.graph.initializer}
    made = {**fixed, model.graph.input[0].name: x}
    ops = torch.nn.functional
    for node in model.graph.node:
        given, stated = [made[name] for name in node.input], attributes(node)
        match node.op_type:
            case "Sub":
                found = given[0] - given[1]
            case "Conv":
                found = ops.conv2d(given[0], given[1], given[2] if len(given) > 2 else None, padding=stated["pads"][:2])
            case "Relu":
                found = torch.relu(given[0])
            case "MaxPool":
                found = ops.max_pool2d(given[0], 2)
            case "AveragePool":
                found = ops.avg_pool2d(given[0], 2)
            case other:
                raise SystemExit(f"exactness: {other} is not known here")
        made[node.output[0]] = found
    return made


def gram(features: torch.Tensor) -> torch.Tensor:
    """(N,C,H,W) -> (N,C,C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class Reference:
    """Features, the style loss's gradients at the taps and on the picture, in one type."""

    def __init__(self, model: onnx.ModelProto, taps: list[str], size: int, kind: torch.dtype) -> None:
        self.picture, style = (compare.picture(size, seed).transpose(2, 0, 1)[None].copy() for seed in (1, 2))
        with torch.no_grad():
            made = tensors(model, torch.from_numpy(style).to(kind))
            targets = [gram(made[tap]) for tap in taps]
        x = torch.from_numpy(self.picture).to(kind).requires_grad_()
        made = tensors(model, x)
        at = [made[tap].detach().requires_grad_() for tap in taps]
        pairs = zip(at, targets, strict=True)
        loss = torch.stack([(gram(f) - t).square().sum() / t.square().sum() for f, t in pairs]).sum()
        grads = torch.autograd.grad(loss, at)
        self.features = {tap: made[tap].detach().numpy() for tap in taps}
        self.gradients = {tap: grad.numpy() for tap, grad in zip(taps, grads, strict=True)}
        self.gradient = torch.autograd.grad([made[tap] for tap in taps], x, list(grads))[0].numpy()


def relative(got: Any, wanted: Any) -> float:
    """Of the norms."""
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def errors(got: Any, wanted: Any) -> dict[str, float]:
    """Of a gradient: as a whole, and at the median pixel over the root mean square."""
    median = np.median(np.abs(got - wanted)) / np.sqrt(np.mean(np.square(wanted)))
    return {"gradient": relative(got, wanted), "gradient_median_pixel": float(median)}


def measure(name: str, size: int) -> dict[str, Any]:
    """Errors of both kinds of convolution, and of PyTorch in float32."""
    model, taps = network(name)
    right = Reference(model, taps, size, torch.float64)
    found: dict[str, Any] = {"network": name, "size": size}
    for kind in CONVOLUTIONS[1:]:
        work = FeaturePass(model, taps, (1, 3, size, size), convolution=kind)
        work.picture[:] = right.picture
        work.forward()
        for tap in taps:
            work.gradients[tap][:] = right.gradients[tap]
        work.backward()
        worst = max(relative(work.features[tap], right.features[tap]) for tap in taps)
        found[kind] = {"features": worst, **errors(work.gradient, right.gradient)}
    single = Reference(model, taps, size, torch.float32)
    worst = max(relative(single.features[tap], right.features[tap]) for tap in taps)
    found["pytorch_float32"] = {"features": worst, **errors(single.gradient, right.gradient)}
    return found


def main() -> None:
    """Measure, print a line each, write the record."""
    parser = argparse.ArgumentParser(prog="stylogram_bench.exactness")
    parser.add_argument("output", type=Path)
    parser.add_argument("cases", nargs="+", metavar="NETWORK:SIZE")
    given = parser.parse_args()
    results = []
    for case in given.cases:
        name, _, size = case.rpartition(":")
        results.append(measure(name, int(size)))
        print(results[-1], flush=True)
    compare.write(given.output, {"what": (__doc__ or "").splitlines()[0], "results": results})


if __name__ == "__main__":
    main()
