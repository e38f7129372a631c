"""Training in small: the data set, a run that is cut off and taken up again, and the file that comes out."""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from stylogram import zoo
from stylogram_export.network import load
from stylogram_training import dataset, export
from stylogram_training.export import means, write
from stylogram_training.network import Body, Heads, Statistics, convolutions
from stylogram_training.train import Crops, Training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    part, dataset.PART = dataset.PART, 8
    try:
        dataset.make(folder, scenes=16, classes=12, draws=1, workers=1, seed=0)
    finally:
        dataset.PART = part
    return folder


def options(data: Path, out: Path, epochs: int = 2) -> argparse.Namespace:
    out.mkdir(exist_ok=True)
    return argparse.Namespace(data=data, out=out, epochs=epochs, steps=2, batch=4, rate=2e-3, seed=0, device="cpu")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    Training(options(data, out)).run()
    return out


def test_the_data_set(data: Path) -> None:
    facts = json.loads((data / "dataset.json").read_text())
    assert (facts["scenes"], len(facts["classes"])) == (16, 12)
    crops = Crops(data, 0)
    x, labels = crops.batch(0, 4)
    again, _ = crops.batch(0, 4)
    assert x.shape == (4, 3, 96, 96)
    assert torch.equal(x, again)
    assert -1 <= x.min() <= x.max() <= 1
    sides = {name: value.shape[-1] for name, value in labels.items()}
    assert sides == {"texture": 24, "shape": 24, "edge": 48, "direction": 24}


def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_been(data: Path, trained: Path, tmp_path: Path) -> None:
    first = Training(options(data, tmp_path))
    save = first.save

    def stop() -> None:
        save()
        raise KeyboardInterrupt

    first.save = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Training(options(data, tmp_path))
    assert second.epoch == 1
    second.run()
    whole, resumed = (torch.load(p / "epoch-02.pt", weights_only=True)["body"] for p in (trained, tmp_path))
    started = torch.load(trained / "epoch-01.pt", weights_only=True)["body"]
    for name, value in whole.items():  # AdamW makes much of little: the last bit of a gradient near 0 moves a weight
        if value.is_floating_point():
            assert (value - resumed[name]).abs().mean() < 0.1 * (value - started[name]).abs().mean() + 1e-6, name
    assert [json.loads(line)["epoch"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()] == [1, 2]


def test_the_statistics_and_their_gradient() -> None:
    x = (torch.rand(2, 3, 8, 8, dtype=torch.float64) + 0.1).requires_grad_()
    weight = torch.rand(2, 2, 2, 6)
    windows = x.permute(0, 2, 3, 1).reshape(2, 2, 4, 2, 4, 3)
    plain = torch.cat([windows.mean((2, 4)), windows.square().mean((2, 4)).sqrt()], -1)
    (wanted,) = torch.autograd.grad((plain * weight).sum(), x)
    found = Statistics.apply(x, 2)
    torch.testing.assert_close(found.double(), plain, rtol=1e-5, atol=1e-6)
    (got,) = torch.autograd.grad((found * weight).sum(), x)
    torch.testing.assert_close(got, wanted, rtol=5e-3, atol=1e-6)  # the power has 1e-3 added where it divides


@pytest.mark.parametrize("per", ["layer", "filter"])
def test_the_file(data: Path, trained: Path, tmp_path: Path, per: str) -> None:
    """It computes what the trained network does, up to half precision and the scaling, and says where it is from."""
    state = torch.load(trained / "epoch-02.pt", weights_only=True)
    crops = Crops(data, 0)
    write(state, crops, tmp_path / "net.onnx", per, 32)
    network = load(tmp_path / "net.onnx")
    assert network.provenance["epoch"] == "2"
    assert json.loads({p.key: p.value for p in network.model.metadata_props}["stylogram.classes"])[1] == "bricks 0"
    body, heads = Body(), Heads(12)
    body.load_state_dict(state["body"])
    heads.load_state_dict(state["heads"])
    body.eval()
    mean = means(body, crops, 32)
    x, _ = crops.batch(10**6, 32)
    with torch.no_grad():
        wanted = body(x)
        logits = heads.texture["conv5_1"](wanted["conv5_1"]).mean((2, 3)).numpy()
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in convolutions())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    features = dict(zip(convolutions(), session.run(convolutions(), {"x": x.numpy()}), strict=True))
    for name, value in features.items():
        scale = mean[name] if per == "filter" else mean[name].mean().expand_as(mean[name])
        alive = (mean[name] > 0.02 * mean[name].mean()).numpy()
        np.testing.assert_allclose(
            value[:, alive] * scale.numpy()[alive, None, None], wanted[name][:, alive], atol=0.03
        )
        assert (value[:, alive] if per == "filter" else value).mean() == pytest.approx(1, rel=0.05)
    (found,) = session.run(["logits"], {"x": x.numpy()})
    np.testing.assert_allclose(found, logits, atol=0.05)


def test_the_default_network_is_what_it_says() -> None:
    network = zoo.resolve("seednet")
    classes = json.loads({p.key: p.value for p in network.model.metadata_props}["stylogram.classes"])
    assert classes == dataset.pictures.class_names(len(classes))
    assert network.layers.content == export.CONTENT
    assert (network.layers.style, network.loss_weights) == (tuple(export.STYLE), export.LOSSES)
    assert "procedural" in network.provenance["weights"]
