"""Weight files as other programs write them, and what must come out of each."""

import h5py
import numpy as np
import scipy.io
import torch
from narrow_vgg import TorchVgg, features, picture, relative
from stylogram_export import models

SINGLE = 2e-5  # float32 through up to 19 layers, the sums in another order


def as_torch(tensors):
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}


def check(network, tensors, preprocess, assumed=False):
    """The network computes what PyTorch does with these weights, for the preprocessing that goes with them."""
    x = network.preprocess.apply(picture())
    wanted = TorchVgg(tensors)(x)
    for name in ("conv1_1", "conv2_1:linear", "pool5"):
        assert relative(features(network.model, [name], x)[name], wanted[name]) < SINGLE, name
    assert network.preprocess == preprocess
    assert network.assumed_preprocess == assumed
    assert network.provenance["architecture"] == models.recognise(tensors)


def cell(items):
    made = np.empty((1, len(items)), object)
    made[0] = items
    return made


def matconvnet(tensors, path, *, old=False, mean=(123.68, 116.779, 103.939), normalise=True):
    """`layers` as a cell array of structs, weights H×W×in×out; `old`: filters/biases and a top-level normalization."""
    layers = []
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    for name in names:
        kernel, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"][None]
        kernel = kernel if kernel.ndim == 4 else kernel.reshape(*kernel.shape, 1, 1)
        stored = {"type": "conv", "name": name, "pad": np.ones((1, 4)), "stride": np.ones((1, 2))}
        pair = (kernel.transpose(2, 3, 1, 0), bias)
        stored |= {"filters": pair[0], "biases": pair[1]} if old else {"weights": cell(list(pair))}
        layers += [stored, {"type": "relu", "name": f"relu_{name}"}]
    average = np.broadcast_to(np.array(mean), (8, 8, 3)) if old else np.array(mean).reshape(1, 1, 3)
    normalization = {"averageImage": average, "imageSize": [224, 224, 3]} if normalise else {"imageSize": [1]}
    content = {"normalization": normalization} if old else {"meta": {"normalization": normalization, "classes": "x"}}
    scipy.io.savemat(path, {"layers": cell(layers), **content})


def keras(tensors, path, *, nested=False, as_bytes=True):
    """The layout of Keras' application weights; `nested` as in a whole saved model."""
    code = (lambda text: text.encode()) if as_bytes else str
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if nested else file
        names = ["input_1"]
        for key in [key for key in tensors if key.endswith(".weight")]:
            ours = key.removesuffix(".weight")
            theirs = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}.get(ours)
            theirs = theirs or ours.replace("conv", "block").replace("_", "_conv")
            kernel = tensors[key].transpose(2, 3, 1, 0) if tensors[key].ndim == 4 else tensors[key].T
            layer = group.create_group(theirs)
            inner = layer.create_group(theirs) if nested else layer
            stems = ("kernel:0", "bias:0") if nested else (f"{theirs}_W_1:0", f"{theirs}_b_1:0")
            inner[stems[0]], inner[stems[1]] = kernel, tensors[f"{ours}.bias"]
            layer.attrs["weight_names"] = [code(f"{theirs}/{stem}" if nested else stem) for stem in stems]
            names.append(theirs)
        group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        group.attrs["layer_names"] = [code(name) for name in names]
