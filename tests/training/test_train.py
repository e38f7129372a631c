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


def options(data: Path, out: Path, epochs: int = 2) -> argparse.Namespace:
    out.mkdir(exist_ok=True)
    return argparse.Namespace(data=data, out=out, epochs=epochs, steps=2, batch=12, rate=2e-3, seed=0, device="cpu")


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
    for name in network.layers.style:
        (white,) = session.run([network.layers.tensor(name)], {"x": crops.batch(2 * 10**6, 32)[0].numpy()})
        covariance = np.cov(white.transpose(1, 0, 2, 3).reshape(white.shape[1], -1), bias=True)
        assert np.trace(covariance) / len(covariance) == pytest.approx(1, rel=0.02), name
        spread = np.sqrt(np.diag(covariance))
        correlation = covariance / spread / spread[:, None]
        assert np.abs(correlation - np.eye(len(covariance))).max() < 0.1, name
    (found,) = session.run(["logits"], {"x": x.numpy()})
    np.testing.assert_allclose(found, logits, atol=0.05)


def test_a_file_s_whitened_layers_are_made_anew(data: Path, trained: Path, tmp_path: Path) -> None:
    crops = Crops(data, 0)
    write(torch.load(trained / "epoch-02.pt", weights_only=True), crops, tmp_path / "net.onnx", "filter", 32)
    export.again(tmp_path / "net.onnx", crops, tmp_path / "again.onnx", 64)
    before, after = load(tmp_path / "net.onnx"), load(tmp_path / "again.onnx")
    assert after.layers == before.layers
    assert (after.loss_weights, after.precondition) == (before.loss_weights, before.precondition)
    assert {**after.provenance, "file": "net.onnx"} == dict(before.provenance)
    x = crops.batch(0, 2)[0].numpy()
    sessions = [onnxruntime.InferenceSession(network.model.SerializeToString()) for network in (before, after)]
    one, two = (session.run(["logits", "conv3_1:white"], {"x": x}) for session in sessions)
    assert np.array_equal(one[0], two[0])
    assert not np.array_equal(one[1], two[1])  # other pictures, other directions


def test_coarse_layers_are_the_whitened_ones_of_the_picture_at_half_its_size() -> None:
    network = zoo.resolve("seednet")
    session = onnxruntime.InferenceSession(network.model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((1, 3, 48, 81), np.float32)
    small = x[..., :80].reshape(1, 3, 24, 2, 40, 2).mean((3, 5))
    coarse = [network.layers.tensor(name) for name in network.layers.coarse]
    assert coarse == [f"{name}:coarse" for name in export.COARSE]
    white = [name.replace("coarse", "white") for name in coarse]
    for one, other in zip(session.run(coarse, {"x": x}), session.run(white, {"x": small}), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_whitened_responses_are_uncorrelated_and_of_mean_variance_one() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((6, 5)) @ rng.standard_normal((5, 4 * 100)) + 3.0  # 5 directions of 6
    response = mixed.reshape(6, 4, 10, 10).transpose(1, 0, 2, 3).astype(np.float32)
    weight, bias = export.whitening(response)
    assert weight.shape == (5, 6, 1, 1)
    white = np.einsum("kc,nchw->knhw", weight[..., 0, 0], response).reshape(5, -1) + bias[:, None]
    covariance = np.cov(white, bias=True)
    np.testing.assert_allclose(white.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)
    assert np.trace(covariance) / 5 == pytest.approx(1, rel=1e-4)
    variance = np.linalg.eigvalsh(np.cov(mixed, bias=True))[1:]
    shrunk = variance / (variance + export.SHRINK * variance.mean())
    np.testing.assert_allclose(np.diag(covariance), shrunk / shrunk.mean(), rtol=1e-3)


def test_the_default_network_is_what_it_says() -> None:
    network = zoo.resolve("seednet")
    classes = json.loads({p.key: p.value for p in network.model.metadata_props}["stylogram.classes"])
    assert classes == dataset.pictures.class_names(len(classes))
    assert network.layers.content == export.CONTENT
    assert (network.layers.style, network.loss_weights) == (tuple(export.STYLE), export.LOSSES)
    assert network.layers.coarse == {f"{name}:coarse": share for name, share in export.COARSE.items()}
    assert network.precondition == export.PRECONDITION
    assert "procedural" in network.provenance["weights"]
