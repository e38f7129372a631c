"""Make the network's ONNX file from what train.py left: normalisations folded in, activations of mean one, half floats.

    python -m stylogram_training.export STATE.pt|NETWORK.onnx DATA -o seednet.onnx [--per layer|filter] [--pictures 256]

Of a NETWORK.onnx that this made before, only the layers `:white` and `:coarse` (see below), the default layers and the
weights of the losses are made anew.

Gatys et al. (2015) scaled VGG's filters so that their mean activation over pictures and positions is one: losses of
different layers can then be compared. ReLU lets a factor through, so the next layer's weights take it back.

Beside every layer `conv1_1` there is `conv1_1:white`: what goes into its ReLU, along principal directions over these
pictures, each of variance one. Gram matrices of it weigh every direction alike. (Those of the features themselves are
mostly a few numbers: two thirds of the directions of conv4_1 have less than a fiftieth of the mean variance.)

`conv3_1:coarse` is `conv3_1:white` of the picture at half its size: the same weights on structures twice as large, such
as long strokes (Snelgrove 2017, "High-resolution multi-scale neural texture synthesis").
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.graph import needed
from stylogram_export.layers import Layers
from stylogram_export.models import vgg
from stylogram_export.network import METADATA, Network, load, save
from stylogram_export.preprocess import Preprocess
from torch import Tensor, nn

from .network import WIDTHS, Body, Heads, convolutions
from .train import Crops

COUNTS = tuple(len(stage) for stage in WIDTHS)
SHARES = (2, 2, 2, 2, 1, 1, 0.5, 0.5, 0.25)
STYLE = {f"{name}:white": share for name, share in zip(convolutions(), SHARES, strict=True)}
HALF = "half:"  # before the names of what is made of the picture at half its size
COARSE = {"conv2_1": 1, "conv2_2": 1, "conv3_1": 1, "conv3_2": 1, "conv4_1": 0.5, "conv4_2": 0.5}
CONTENT = ("conv3_2:white",)
LOSSES = {"style": 235.0, "tv": 0.04}  # what suits these features best, and the layers: training/README.md
PRECONDITION = 1.7  # of L-BFGS
SHRINK = 0.05  # of the mean variance: added to every direction's, or noise would count as much as what is there
LEAST = 0.004  # of the mean variance: directions with less are left out
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


def whitening(response: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (K,C,1,1) and bias (K) that make responses (N,C,h,w) uncorrelated, of mean variance one.

    K <= C: directions of too little variance are left out. y = D⁻½ Vᵀ (r - μ), C = V Λ Vᵀ, D = Λ + SHRINK · mean(Λ).
    """
    flat = response.transpose(1, 0, 2, 3).reshape(response.shape[1], -1).astype(np.float64)
    mean = flat.mean(1)
    variance, directions = np.linalg.eigh(np.cov(flat, bias=True))
    kept = variance > LEAST * variance.mean()
    variance, directions = variance[kept], directions[:, kept]
    scale = 1 / np.sqrt(variance + SHRINK * variance.mean())
    scale /= np.sqrt(np.mean(variance * scale**2))
    weight = scale[:, None] * directions.T
    return weight[..., None, None].astype(np.float32), (-weight @ mean).astype(np.float32)


def whiten(model: onnx.ModelProto, crops: Crops, count: int) -> None:
    """Append `<layer>:white` for every layer to the graph and to its outputs, from `count` scenes."""
    names = convolutions()
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=f"{name}:linear") for name in names)
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    pictures = np.array_split(crops.batch(2 * 10**6, count)[0].numpy(), count // 32)
    for name in names:
        parts = [session.run([f"{name}:linear"], {"x": part})[0] for part in pictures]
        weight, bias = whitening(np.concatenate(parts))
        white = f"{name}:white"
        model.graph.initializer.append(numpy_helper.from_array(weight, f"{white}.weight"))
        model.graph.initializer.append(numpy_helper.from_array(bias, f"{white}.bias"))
        inputs = [f"{name}:linear", f"{white}.weight", f"{white}.bias"]
        model.graph.node.append(helper.make_node("Conv", inputs, [white], white, kernel_shape=[1, 1]))
        made = helper.make_tensor_value_info(white, TensorProto.FLOAT, ["N", len(weight), None, None])
        model.graph.output.append(made)


def coarsen(model: onnx.ModelProto) -> None:
    """Append `<layer>:coarse` for the layers of COARSE to the graph and to its outputs: `:white` at half the size."""
    source, small = model.graph.input[0].name, f"{HALF}picture"
    renamed = {source: small}
    nodes = [helper.make_node("AveragePool", [source], [small], small, kernel_shape=[2, 2], strides=[2, 2])]
    wanted = [f"{name}:white" for name in COARSE]
    before, _ = needed(list(model.graph.node), wanted)
    for node in before:
        if not renamed.keys() & set(node.input):
            continue  # weights
        (made,) = node.output
        renamed[made] = f"{made.removesuffix(':white')}:coarse" if made in wanted else f"{HALF}{made}"
        again = onnx.NodeProto()
        again.CopyFrom(node)
        again.name = again.output[0] = renamed[made]
        again.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(again)
    channels = {value.name: value.type.tensor_type.shape.dim[1].dim_value for value in model.graph.output}
    for name in wanted:
        sizes = ["N", channels[name], None, None]
        model.graph.output.append(helper.make_tensor_value_info(renamed[name], TensorProto.FLOAT, sizes))
    model.graph.node.extend(nodes)


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
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its constants kept as float16 and cast where they are used: half the file, and ordinary ONNX."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            continue
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
    whiten(model, crops, count)
    coarsen(model)
    model = halved(model)
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
    helper.set_model_props(model, {f"{METADATA}classes": json.dumps(state["classes"])})
    save(Network("seednet", model, preprocess, layers(), provenance, False, LOSSES, PRECONDITION), path)


def layers() -> Layers:
    """The names of the layers, those of the whitened ones, and which are the defaults."""
    own = vgg.layers(COUNTS, len(COUNTS) - 1)
    coarse = {f"{name}:coarse": share for name, share in COARSE.items()}
    also = {**own.also, **{name: name for name in (*STYLE, *coarse)}}
    return replace(own, also=also, style=tuple(STYLE), content=CONTENT, weights=STYLE, coarse=coarse)


def again(file: Path, crops: Crops, path: Path, count: int) -> None:
    """A file that write() made, with its whitened layers made anew."""
    before, model = load(file), onnx.load(file)
    del model.graph.output[1:]
    made = (":white", ":coarse", HALF)
    nodes = [node for node in model.graph.node if not any(part in node.name for part in made)]
    constants = [value for value in model.graph.initializer if ":white" not in value.name]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    whiten(model, crops, count)
    coarsen(model)
    provenance = {name: value for name, value in before.provenance.items() if name not in ("file", "format")}
    network = Network("seednet", halved(model), before.preprocess, layers(), provenance, False, LOSSES, PRECONDITION)
    save(network, path)


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("state", type=Path)
    ask.add_argument("data", type=Path)
    ask.add_argument("-o", "--output", type=Path, required=True)
    ask.add_argument("--per", choices=("layer", "filter"), default="filter")
    ask.add_argument("--pictures", type=int, default=256)
    given = ask.parse_args()
    if given.state.suffix == ".onnx":
        again(given.state, Crops(given.data, 0), given.output, given.pictures)
        return
    state = torch.load(given.state, map_location="cpu", weights_only=True)
    write(state, Crops(given.data, state["seed"]), given.output, given.per, given.pictures)


if __name__ == "__main__":
    main()
