"""Real pictures and an ImageNet network, judged by that network: strokes, and the content still there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stylogram
from stylogram import pictures, zoo
from stylogram.cli import main
from stylogram.session import features_of
from stylogram_export.network import folded

SHARED = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared pictures and network are not here (STYLOGRAM_SHARED)"
)
SQUEEZENET = {"network": SHARED / "models" / "squeezenet1_0.onnx", "preprocess": "caffe"}


def test_the_starry_night_over_tuebingen(tmp_path):
    """256 px, 200 iterations, default weights: style distance at most 0.02, content distance at most 1."""
    content, style = (str(SHARED / "pictures" / name) for name in ("tubingen.jpg", "starry_night.jpg"))
    out = str(tmp_path / "out.png")
    network = ["--network", str(SHARED / "models" / "squeezenet1_0.onnx"), "--preprocess", "caffe"]
    assert (
        main(["stylize", content, style, "-o", out, *network, "--size", "256", "--iterations", "200", "--quiet"]) == 0
    )
    judge = [sys.executable, str(SHARED / "judge_style.py"), style, content, out]
    said = subprocess.run(judge, capture_output=True, text=True, check=True).stdout
    found = re.search(r"style ([\d.]+) content ([\d.]+)", said)
    assert found
    assert float(found[1]) <= 0.02
    assert float(found[2]) <= 1.0


def test_a_deep_layer_gives_the_bridge_back():
    """fire9: Fourier coefficients end at less than half the error of pixels, and are more like the photograph."""
    bridge = SHARED / "pictures" / "golden_gate.jpg"
    wanted = pictures.read(bridge).rgb
    errors, likeness = [], []
    for preset in ("natural", "pixels"):
        made = stylogram.reconstruct(bridge, layer="fire9", size=160, iterations=150, preset=preset, **SQUEEZENET)
        like = pictures.resized(wanted, made.exact.shape[:2])
        errors.append(made.errors[0])
        likeness.append(np.corrcoef(made.exact.ravel(), like.ravel())[0, 1])
    assert errors[0] < 0.5 * errors[1]
    assert likeness[0] > 0.4 > likeness[1]


def test_the_grid_s_deepest_content_is_the_bridge_still():
    """fire9 in the grid: a lower loss than by the figure's descent from white noise, which ends in noise."""
    bridge = SHARED / "pictures" / "golden_gate.jpg"
    losses, likeness = [], []
    for preset in ("natural", "pixels"):
        layers = {"content_layers": "conv4_1", "style_layers": "conv1_1"}
        made = stylogram.reconstruct(bridge, grid=True, size=128, iterations=150, preset=preset, **layers, **SQUEEZENET)
        losses.append(min(row["loss"] for row in made.trace if row["scale"] == 1))
        like = pictures.resized(pictures.read(bridge).rgb, made.pictures[0].shape[:2])
        likeness.append(np.corrcoef(made.pictures[0].ravel(), like.ravel())[0, 1])
    assert losses[0] < 0.9 * losses[1]
    assert likeness[0] > 0.4 > 0.2 > likeness[1]


def test_pictures_of_one_unit_are_unlike_and_excite_it():
    """fire8, unit 100, by default weights: textures less alike than without, for at most a fifth of the activation."""
    network = zoo.resolve(SQUEEZENET["network"], "caffe")
    model = folded(network, ["fire8"])
    found = {}
    for weight in (0.0, 0.5):
        given = {
            "layer": "fire8",
            "unit": 100,
            "size": 80,
            "iterations": 96,
            "diversity": 3,
            "diversity_weight": weight,
        }
        made = stylogram.maximize(**given, **SQUEEZENET)
        batch = np.concatenate([pictures.to_batch(picture) for picture in made.pictures])
        felt = features_of(model, ["fire8"], batch)["fire8"].reshape(3, 512, -1).astype(float)
        grams = np.einsum("ncp,ndp->ncd", felt, felt)
        grams /= np.linalg.norm(grams, axis=(1, 2), keepdims=True)
        alike = np.einsum("icd,jcd->ij", grams, grams)[np.triu_indices(3, 1)].mean()
        found[weight] = alike, felt[:, 100].mean()
    assert found[0.5][0] < found[0.0][0] - 0.15
    assert found[0.5][1] > 0.8 * found[0.0][1]
