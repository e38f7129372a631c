"""pairs.py FOLDER: the graphs for the tests of libstylogram, and in FOLDER/onnxruntime the place of ONNX Runtime."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from stylogram.cli import main
from stylogram_export.network import save

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine import nets


def export(network: str, folder: Path, *options: str) -> None:
    if main(["network", "export", network, "-o", str(folder), *options]):
        raise SystemExit(1)


def network(path: Path, scale: float = 1.0, **changes: object) -> str:
    """A narrow VGG, its first weights times `scale`."""
    weights = nets.weights()
    weights["conv1_1.weight"] = weights["conv1_1.weight"] * np.float32(scale)
    save(replace(nets.narrow(weights), **changes), path)
    return str(path)


def relabelled(source: Path, target: Path, **entries: str) -> None:
    """A pair with other metadata."""
    target.mkdir(exist_ok=True)
    for path in source.glob("*.onnx"):
        model = onnx.load(path)
        for entry in model.metadata_props:
            entry.value = entries.get(entry.key.removeprefix("stylogram."), entry.value)
        onnx.save(model, target / path.name)


def make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "onnxruntime").write_text(str(Path(onnxruntime.__file__).parent))
    narrow = network(folder / "narrow.onnx")
    export(narrow, folder / "narrow")
    export(network(folder / "coarse.onnx", precondition=1.7), folder / "coarse")
    export(network(folder / "huge.onnx", 1e30), folder / "huge")
    export(narrow, folder / "closed", "--shape", "2,3,32,48")
    export(narrow, folder / "winograd", "--shape", "1,3,32,48", "--convolution", "winograd")
    export(narrow, folder / "bare", "--layers", "conv1_1")
    export(narrow, folder / "deconvnet", "--relu", "deconvnet")
    relabelled(folder / "narrow", folder / "future", engine="2")
    relabelled(folder / "narrow", folder / "wordy", weights="heavy\tcontent\n1.0\tstyle\n1.0\ttv\n")
    (folder / "mixed").mkdir()
    shutil.copy(folder / "narrow" / "forward.onnx", folder / "mixed")
    shutil.copy(folder / "coarse" / "backward.onnx", folder / "mixed")
    (folder / "text").mkdir()
    for name in ("forward.onnx", "backward.onnx"):
        (folder / "text" / name).write_text("no graph")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
