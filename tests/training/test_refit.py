"""Other first filters for a finished network."""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from stylogram_export.network import load
from stylogram_training.export import write
from stylogram_training.refit import refit
from stylogram_training.train import Crops, Training


def test_the_features_after_them_come_back(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylogram_training.train.LOOKED", 96)
    monkeypatch.setattr("stylogram_training.refit.LOOKED", 96)
    asked = {"data": data, "out": tmp_path, "epochs": 1, "steps": 2, "batch": 12, "rate": 2e-3, "seed": 0}
    Training(argparse.Namespace(**asked, device="cpu")).run()
    state = torch.load(tmp_path / "epoch-01.pt", weights_only=True)
    write(state, Crops(data, 0), tmp_path / "before.onnx", "filter", 32)
    files = {"network": tmp_path / "before.onnx", "data": data, "output": tmp_path / "after.onnx"}
    refit(argparse.Namespace(**files, steps=40, batch=4, rate=3e-3, seed=1))
    told = [json.loads(line.partition(" ")[2].replace("'", '"')) for line in capsys.readouterr().out.splitlines()]
    for name, least in (("conv1_2", 0.85), ("conv2_1", 0.85), ("conv2_2", 0.85)):
        assert told[-1][name] < least * told[0][name], (name, told[0], told[-1])
    before, after = (_constants(tmp_path / name) for name in ("before.onnx", "after.onnx"))
    changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    layers = ("conv1_1", "conv1_2", "conv2_1")
    assert changed == {f"{name}.{part}.half" for name in layers for part in ("weight", "bias")}
    assert "independent components" in load(tmp_path / "after.onnx").provenance["first layer"]
    model = onnx.load(tmp_path / "after.onnx")
    model.graph.output.append(onnx.ValueInfoProto(name="conv1_1"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (mean,) = session.run(["conv1_1"], {session.get_inputs()[0].name: Crops(data, 0).batch(7, 8)[0].numpy()})
    assert mean.mean() == pytest.approx(1, rel=0.3)


def _constants(file: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
