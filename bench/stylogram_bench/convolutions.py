"""Winograd's convolutions against ONNX Runtime's own: forward and backward of a network, by turns in one process.

    python -m stylogram_bench.convolutions OUT.json NAME|FILE.onnx[:PREPROCESS] ... --sizes 256,512 --rounds 12

`vgg19` is the benchmark's (random weights, to conv5_1, Gatys' layers); of other networks the default layers are taken.
The gradients at the taps are random. Beside the times stand the differences between the two.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from stylogram import zoo
from stylogram.session import CONVOLUTIONS, FeaturePass, available_threads
from stylogram_export.models import vgg
from stylogram_export.network import Network, folded
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from . import compare

KINDS = CONVOLUTIONS[1:]  # direct, winograd


def network(name: str) -> tuple[onnx.ModelProto, list[str]]:
    """A network with its preprocessing, and its taps."""
    if name == "vgg19":
        model = prepare(vgg.graph("vgg19", compare.STAGES, 4, compare.weights(), "max"))
        found = Network("vgg19", model, PREPROCESS["imagenet"], vgg.layers(compare.STAGES, 4))
        layers: Sequence[str] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
    else:
        file, _, preprocess = name.partition(":")
        found = zoo.resolve(file, preprocess or None, None, 0)
        layers = [*found.layers.style, *found.layers.content]
    taps = list(dict.fromkeys(found.layers.tensor(layer) for layer in layers))
    return folded(found, taps), taps


def passes(model: onnx.ModelProto, taps: list[str], size: int, threads: int) -> dict[str, FeaturePass]:
    """A pass of each kind, with the same picture and gradients in it, that has run once."""
    made = {}
    for kind in KINDS:
        work = made[kind] = FeaturePass(model, taps, (1, 3, size, size), threads=threads, convolution=kind)
        work.picture[:] = compare.picture(size, 1).transpose(2, 0, 1)
        work.forward()
        for at, tap in enumerate(taps):
            given = np.random.default_rng(at).standard_normal(work.gradients[tap].shape, np.float32)
            work.gradients[tap][:] = given / np.linalg.norm(given)
        work.backward()
    return made


def differences(made: dict[str, FeaturePass]) -> dict[str, Any]:
    """Of winograd from direct: of features by layer; of the gradient as a whole, and at its median pixel."""

    def relative(got: compare.Array, wanted: compare.Array) -> float:
        return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))

    direct, ours = (made[kind] for kind in KINDS)
    apart = np.abs(ours.gradient - direct.gradient)
    return {
        "features": {tap: relative(ours.features[tap], direct.features[tap]) for tap in direct.taps},
        "gradient": relative(ours.gradient, direct.gradient),
        "gradient_median_pixel": float(np.median(apart) / np.sqrt(np.mean(np.square(direct.gradient)))),
    }


def measure(name: str, size: int, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of forward and backward of both kinds, round by round, and the ratios of neighbours."""
    model, taps = network(name)
    made = passes(model, taps, size, threads)
    found = differences(made)
    times: dict[str, dict[str, list[float]]] = {kind: {"forward": [], "backward": []} for kind in KINDS}
    for _ in range(rounds):
        for kind, work in made.items():
            times[kind]["forward"].append(compare.seconds_of(work.forward))
            times[kind]["backward"].append(compare.seconds_of(work.backward))
    totals = {kind: [sum(pair) for pair in zip(*t.values(), strict=True)] for kind, t in times.items()}
    return {
        "network": Path(name).name,
        "size": size,
        "rounds": rounds,
        "seconds": times,
        "median_seconds": {kind: statistics.median(total) for kind, total in totals.items()},
        "ratio": compare.spread([a / b for a, b in zip(*totals.values(), strict=True)]),
        "relative_difference": found,
    }


def main() -> None:
    """Measure, print a line each, write the record."""
    parser = argparse.ArgumentParser(prog="stylogram_bench.convolutions")
    parser.add_argument("output", type=Path)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    results = []
    for name in given.networks:
        for size in map(int, given.sizes.split(",")):
            found = measure(name, size, given.rounds, available_threads())
            seconds, ratio = found["median_seconds"], found["ratio"]
            line = ", ".join(f"{kind} {seconds[kind]:.4f} s" for kind in KINDS)
            spread = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
            print(f"{found['network']} {size}: {line}, ratio {spread}, {found['relative_difference']}", flush=True)
            results.append(found)
    compare.write(given.output, {"what": (__doc__ or "").splitlines()[0], "results": results})


if __name__ == "__main__":
    main()
