"""Make the network's ONNX file from what train.py left: normalisations folded in, activations of mean one, half floats.

    python -m stylogram_training.export STATE.pt DATA -o seednet.onnx [--per layer|filter] [--pictures 256]

Gatys et al. (2015) scaled VGG's filters so that their mean activation over pictures and positions is one: losses of
different layers can then be compared. ReLU lets a factor through, so the next layer's weights take it back.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.models import vgg
from stylogram_export.network import METADATA, Network, save
from stylogram_export.preprocess import Preprocess
from torch import Tensor, nn

from .network import WIDTHS, Body, Heads, convolutions
from .train import Crops

COUNTS = tuple(len(stage) for stage in WIDTHS)
STYLE = {"conv1_1": 2, "conv1_2": 2, "conv2_1": 2, "conv2_2": 2, "conv3_1": 1, "conv3_2": 1} | {
    "conv4_1": 0.5, "conv4_2": 0.5, "conv5_1": 0.25,
}  # fmt: skip
CONTENT = ("conv2_2",)
LOSSES = {"style": 300.0, "tv": 0.04}  # what suits these features best, and the layers: training/README.md
FLOOR = 1e-2  # of the layer's mean: what a filter's mean counts at least, or one that never fires would be blown up


def means(body: Body, crops: Crops, count: int) -> dict[str, Tensor]:
    """The mean activation of every filter, by layer, over `count` scenes."""
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for step in range(count // 32):
            for name, value in body(crops.batch(10**6 + step, 32)[0]).items():
                sums[name] = sums.get(name, torch.zeros(value.shape[1])) + value.mean((0, 2, 3)) / (count // 32)
    return sums


def tensors(body: Body, heads: Heads, mean: dict[str, Tensor], per: str) -> dict[str, NDArray[np.float32]]:
    """Weights and biases with the normalisations folded in and every layer's (or filter's) mean activation one."""
    made: dict[str, NDArray[np.float32]] = {}
    before = torch.ones(3)
    for name in convolutions():
        norm, convolution = getattr(body, f"{name}_norm"), getattr(body, name)
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        scale = mean[name].mean().expand_as(mean[name])
        if per == "filter":
            scale = mean[name].clamp(min=float(FLOOR * mean[name].mean()))
        weight = convolution.weight * gain[:, None, None, None] * before[None, :, None, None]
        made[f"{name}.weight"] = (weight / scale[:, None, None, None]).detach().numpy()
        made[f"{name}.bias"] = ((norm.bias - norm.running_mean * gain) / scale).detach().numpy()
        before = scale
    head = cast(nn.Conv2d, heads.texture["conv5_1"])
    made["texture.weight"] = (head.weight * before[None, :, None, None]).detach().numpy()
    made["texture.bias"] = cast(Tensor, head.bias).detach().numpy()
    return made


def graph(weights: dict[str, NDArray[np.float32]], pooling: str = "avg") -> onnx.ModelProto:
    """The whole as opset 18: picture -> features -> `logits` (N,classes), the mean of every place's."""
    body = {name: value for name, value in weights.items() if name.startswith("conv")}
    model = vgg.graph("seednet", COUNTS, len(COUNTS) - 1, body, pooling)
    last = model.graph.output[0].name
    model.graph.node.extend(
        [
            helper.make_node("Conv", [last, "texture.weight", "texture.bias"], ["texture"], "texture"),
            helper.make_node("GlobalAveragePool", ["texture"], ["average"], "average"),
            helper.make_node("Flatten", ["average"], ["logits"], "logits"),
        ]
    )
    constants = {name: value for name, value in weights.items() if name.startswith("texture")}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    classes = len(weights["texture.bias"])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]))
    return _halved(model)


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights kept as float16 and cast where they are used: half the file, and ordinary ONNX."""
    casts = []
    for tensor in model.graph.initializer:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return model


def write(state: dict[str, Any], crops: Crops, path: Path, per: str, count: int) -> None:
    """The network's file with its preprocessing, layers, class names and where it comes from."""
    body, heads = Body(), Heads(len(state["classes"]))
    body.load_state_dict(state["body"])
    heads.load_state_dict(state["heads"])
    body.eval()
    model = graph(tensors(body, heads, means(body, crops, count), per))
    provenance = {
        "weights": "trained by Stylogram on procedural pictures; no photograph, no other network",
        "script": "training/stylogram_training/train.py",
        "seed": str(state["seed"]),
        "epoch": str(state["epoch"]),
        "steps": f"{state['steps']} of {state['batch']} crops of 96 pixels",
        "classes": f"{len(state['classes'])} textures",
        "activations": f"mean one per {per} over {count} crops",
        "torch": state["torch"],
        "licence": "Apache-2.0",
    }
    preprocess = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    layers = replace(vgg.layers(COUNTS, len(COUNTS) - 1), style=tuple(STYLE), content=CONTENT, weights=STYLE)
    helper.set_model_props(model, {f"{METADATA}classes": json.dumps(state["classes"])})
    save(Network("seednet", model, preprocess, layers, provenance, loss_weights=LOSSES), path)


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("state", type=Path)
    ask.add_argument("data", type=Path)
    ask.add_argument("-o", "--output", type=Path, required=True)
    ask.add_argument("--per", choices=("layer", "filter"), default="filter")
    ask.add_argument("--pictures", type=int, default=256)
    given = ask.parse_args()
    state = torch.load(given.state, map_location="cpu", weights_only=True)
    write(state, Crops(given.data, state["seed"]), given.output, given.per, given.pictures)


if __name__ == "__main__":
    main()
