"""Give a finished network other first filters, and fit the layers that read them: the features after those stay.

    python -m stylogram_training.refit NETWORK.onnx DATA -o OUT.onnx [--steps 500] [--batch 16] [--rate 2e-3] [--seed 0]

The first filters become independent components of the pictures (filters.py), which are not changed again; their biases
and the two layers after them learn to give what the layers of NETWORK.onnx gave before. Its whitened layers are made
anew by export.py, which has to follow.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from stylogram_export.network import METADATA
from torch import Tensor
from torch.nn import functional

from .filters import first_filters
from .network import FIRST, WIDTHS
from .train import LOOKED, PATCHES, Crops

COPIED = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
FITTED = COPIED[1:3]
HALF = ".half"  # the ending of a constant's name in a file of export.py's


class Early:
    """The layers of COPIED with weights from a file of export.py's: `weight` and `bias`, by layer."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weight = {name: weights[f"{name}.weight"].clone() for name in COPIED}
        self.bias = {name: weights[f"{name}.bias"].clone() for name in COPIED}

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """What goes into each ReLU, by name, from (N,3,H,W)."""
        linear: dict[str, Tensor] = {}
        for name in COPIED:
            if name == "conv2_1":
                x = functional.avg_pool2d(x, 2)
            weight = self.weight[name]
            linear[name] = functional.conv2d(x, weight, self.bias[name], padding=weight.shape[-1] // 2)
            x = functional.relu(linear[name])
        return linear


def refit(given: argparse.Namespace) -> None:
    """Fit and write."""
    model, crops = onnx.load(given.network), Crops(given.data, given.seed)
    constants = {tensor.name.removesuffix(HALF): tensor for tensor in model.graph.initializer}
    weights = {name: torch.from_numpy(numpy_helper.to_array(t).astype(np.float32)) for name, t in constants.items()}
    before, after = Early(weights), Early(weights)
    looked = crops.batch(3 * 10**6, LOOKED)[0]
    _begin(after, first_filters(looked.numpy(), WIDTHS[0][0], FIRST, PATCHES, given.seed), looked[:64])
    learned = [after.bias["conv1_1"], *(part[name] for name in FITTED for part in (after.weight, after.bias))]
    for values in learned:
        values.requires_grad_()
    optimiser = torch.optim.Adam(learned, given.rate)
    for step in range(given.steps):
        for group in optimiser.param_groups:
            group["lr"] = given.rate * (1 + math.cos(math.pi * step / given.steps)) / 2
        x = crops.batch(4 * 10**6 + step, given.batch)[0]
        errors = _errors(before(x), after(x))
        optimiser.zero_grad(set_to_none=True)
        sum(errors.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 50 == 0 or step + 1 == given.steps:
            print(step, {name: round(float(error.detach()), 4) for name, error in errors.items()}, flush=True)
    _normalise(after, looked[64:128])
    for name in COPIED[: COPIED.index(FITTED[-1]) + 1]:
        for part, values in (("weight", after.weight[name]), ("bias", after.bias[name])):
            tensor = constants[f"{name}.{part}"]
            tensor.CopyFrom(numpy_helper.from_array(values.detach().numpy().astype(np.float16), tensor.name))
    _say(model, given.steps)
    onnx.save(model, given.output)


def _say(model: onnx.ModelProto, steps: int) -> None:
    """Put into the file's provenance how its first layer came about."""
    how = f"independent components of {PATCHES} patches; biases and {', '.join(FITTED)} refitted, {steps} steps"
    for entry in model.metadata_props:
        if entry.key == f"{METADATA}provenance":
            entry.value = json.dumps({**json.loads(entry.value), "first layer": how})


def _begin(after: Early, filters: Tensor, x: Tensor) -> None:
    """The filters with responses of variance one, half a deviation above 0: some of the other sign comes through."""
    with torch.no_grad():
        deviation = functional.conv2d(x, filters).std((0, 2, 3))
        after.weight["conv1_1"].copy_(filters / deviation[:, None, None, None])
        after.bias["conv1_1"].fill_(0.5)
        reading = after.weight["conv1_2"]  # what reads them begins at random, of He's size (PyTorch's own seed)
        reading.normal_(0, (2 / reading[0].numel()) ** 0.5)


def _errors(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The squared difference over the variance, filter by filter, of every layer after the first."""
    made = {}
    for name in COPIED[1:]:
        variance = wanted[name].var((0, 2, 3))
        error = (found[name] - wanted[name]).square().mean((0, 2, 3))
        made[name] = (error / (variance + 0.01 * variance.mean())).mean()
    return made


def _normalise(after: Early, x: Tensor) -> None:
    """Mean activations of the first filters one; what reads them takes it back."""
    with torch.no_grad():
        mean = functional.relu(after(x)["conv1_1"]).mean((0, 2, 3)).clamp(min=1e-3)
        after.weight["conv1_1"].div_(mean[:, None, None, None])
        after.bias["conv1_1"].div_(mean)
        after.weight["conv1_2"].mul_(mean[None, :, None, None])


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("network", type=Path)
    ask.add_argument("data", type=Path)
    ask.add_argument("-o", "--output", type=Path, required=True)
    ask.add_argument("--steps", type=int, default=500)
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--rate", type=float, default=2e-3)
    ask.add_argument("--seed", type=int, default=0)
    refit(ask.parse_args())


if __name__ == "__main__":
    main()
