"""The graphs that a GPU's providers get: in operators that they have, in the precision, and as pictures lie there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx
from stylogram_export import Derivative, differentiate
from stylogram_export.channels_last import channels_last
from stylogram_export.gpu import portable, portable_forward
from stylogram_export.graph import cut, dims, values
from stylogram_export.precision import narrowed, narrowed_forward
from stylogram_export.specialise import specialise

from ..objective import Failed
from ..session import Shape
from .arrays import Queue

NARROW = ("bf16", "fp16")  # the precisions of 16 bits
#: How pictures lie between convolutions: with their channels last and convolutions of ours (CudaConv), or ONNX
#: Runtime's; or with their channels first.
LAYOUTS = ("ours", "last", "first")
#: Which are tried, one after another: fp32 has no tensor cores, which gain by the last two, and ONNX Runtime no
#: convolution of bfloat16 with channels last.
TRIED = {"fp32": ("first",), "tf32": LAYOUTS, "bf16": ("ours", "first"), "fp16": LAYOUTS}
MOST_NUMBERS = 2**31 - 1  # of a tensor in ONNX Runtime's CUDA


@dataclass(frozen=True)
class Place:
    """Where and how the graphs run.

    `kind`: "cuda" or "tensorrt"; "host" is ONNX Runtime's CPU on the memory of an emulated GPU, for tests. `graphs`:
    each session is replayed as a CUDA graph, which fixed shapes and addresses allow: ONNX Runtime's, with TensorRT
    ours. `layout`: one of LAYOUTS; "": the first that cuDNN has convolutions for.
    """

    kind: str
    queue: Queue
    precision: str = "fp32"
    graphs: bool = True
    layout: str = ""

    @property
    def tried(self) -> tuple[str, ...]:
        """The layouts that may be taken, the best first."""
        if self.kind != "cuda":
            return ("first",)
        return (self.layout,) if self.layout else TRIED[self.precision]

    @property
    def memory(self) -> str:
        """ONNX Runtime's word for where the arrays are."""
        return "cpu" if self.kind == "host" else "cuda"


def derivative_for(model: onnx.ModelProto, taps: Sequence[str], shape: Shape, relu: str, place: Place) -> Derivative:
    """The pair of graphs in what the GPU's providers run, and in the precision."""
    pair = differentiate(model, list(taps), shape, relu)
    _check_size(pair.forward)
    if place.kind == "tensorrt":
        pair = narrowed(portable(pair, "planes"), place.precision, ops=True, native=True)
        return replace(pair, forward=_named(pair.forward), backward=_named(pair.backward))
    ours = place.layout == "ours"
    pair = narrowed(portable(pair, convs=ours), place.precision, ops=True)
    return pair if place.layout == "first" else channels_last(pair, convs=ours)


def _check_size(forward: onnx.ModelProto) -> None:
    """Raises Failed for a tensor of more numbers than ONNX Runtime's CUDA kernels count with their indices of 32 bits:
    what they do then is not defined (CUDA_LONG in its source; its issue 28385)."""
    sizes = {name: math.prod(side or 1 for side in dims(value) or ()) for name, value in values(forward.graph).items()}
    name = max(sizes, key=lambda name: sizes[name])
    if sizes[name] > MOST_NUMBERS:
        raise Failed(
            f"the GPU's memory does not suffice: {name} would have {sizes[name]} numbers, and ONNX Runtime's CUDA "
            f"counts to {MOST_NUMBERS}; a smaller --size, or fewer pictures at once, have less"
        )


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each node with a name of its own. For ONNX Runtime's TensorRT provider nodes of one name, or of none, are one:
    what comes before an engine and what comes behind it would be a cycle, and TensorRT would get nothing."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in made.graph.node:
        node.name = node.output[0]
    return made


def forward_for(model: onnx.ModelProto, taps: Sequence[str], shape: Shape, place: Place) -> onnx.ModelProto:
    """The forward graph alone, likewise, with channels first."""
    part = specialise(cut(model, list(taps)), shape)
    _check_size(part)
    return narrowed_forward(portable_forward(part), place.precision, ops=True)
