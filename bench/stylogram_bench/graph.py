"""An ONNX network of convolutions, ReLUs, pools and Concat as PyTorch's modules, for the baseline."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import onnx
import torch
from onnx import NodeProto, numpy_helper
from stylogram_export.graph import attributes, cut
from torch import Tensor, nn
from torch.nn import functional

from .baseline import Work

Step = tuple[Callable[..., Tensor], tuple[str, ...], str]


def work(model: onnx.ModelProto, content: Mapping[str, float], style: Mapping[str, float]) -> Work:
    """Of a network with its preprocessing in the graph; layers are tensors of it, weights sum to one."""
    return Work(partial(Graph, model, tuple(dict.fromkeys([*content, *style]))), dict(content), dict(style))


class Graph(nn.Module):
    """(1, 3, H, W) RGB in [0, 1] -> {tap: tensor}; nothing beyond the last tap.

    Raises NotImplementedError for an operator that is not known here.
    """

    def __init__(self, model: onnx.ModelProto, taps: Sequence[str], memory_format: torch.memory_format) -> None:
        super().__init__()
        self._taps, self._memory_format = tuple(taps), memory_format
        graph = cut(model, list(taps)).graph
        self._source = graph.input[0].name
        self._fixed = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self.convolutions = nn.ModuleList()
        self._steps: list[Step] = [self._step(node) for node in graph.node]
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        made = {self._source: picture}
        for call, inputs, output in self._steps:
            made[output] = call(*(made[name] for name in inputs))
        return {tap: made[tap] for tap in self._taps}

    def _step(self, node: NodeProto) -> Step:
        stated, given = attributes(node), [name for name in node.input if name not in self._fixed]
        return self._call(node, stated), tuple(given), node.output[0]

    def _call(self, node: NodeProto, stated: dict[str, Any]) -> Callable[..., Tensor]:
        match node.op_type:
            case "Sub":  # the head: the leaf stays in the usual layout (baseline.py)
                mean, layout = self._fixed[node.input[1]], self._memory_format
                return lambda x: (x - mean).contiguous(memory_format=layout)
            case "Conv":
                self.convolutions.append(convolution := self._convolution(node, stated))
                return convolution
            case "Relu":
                spare = self._uses[node.input[0]] == 1 and node.input[0] not in self._taps
                return functional.relu_ if spare else functional.relu
            case "MaxPool":
                pool = {"ceil_mode": bool(stated.get("ceil_mode", 0)), "padding": _padding(stated)}
                return partial(
                    functional.max_pool2d, kernel_size=stated["kernel_shape"], stride=stated["strides"], **pool
                )
            case "AveragePool":
                return partial(functional.avg_pool2d, kernel_size=stated["kernel_shape"], stride=stated["strides"])
            case "Concat":
                return lambda *parts: torch.cat(parts, dim=stated["axis"])
            case other:
                raise NotImplementedError(f"the baseline knows no {other}")

    def _convolution(self, node: NodeProto, stated: dict[str, Any]) -> nn.Conv2d:
        kernel = self._fixed[node.input[1]]
        high, wide = kernel.shape[2:]
        stride = stated.get("strides", [1, 1])
        made = nn.Conv2d(
            kernel.shape[1], kernel.shape[0], (high, wide), stride, _padding(stated), bias=len(node.input) > 2
        )
        made.weight.data = kernel.clone(memory_format=self._memory_format)
        if made.bias is not None:
            made.bias.data = self._fixed[node.input[2]].clone()
        return made


def _padding(stated: dict[str, Any]) -> tuple[int, int]:
    """Raises NotImplementedError where the two sides differ."""
    top, left, bottom, right = stated.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise NotImplementedError(f"the baseline pads both sides alike, not {stated['pads']}")
    return top, left
