"""The architectures: the same numbers as PyTorch, and `random` is what it says."""

import numpy as np
import onnx
import pytest
from narrow_vgg import TorchVgg, features, picture, relative, weights
from stylogram_export import models
from stylogram_export.errors import Error
from stylogram_export.models import random, vgg
from stylogram_export.preprocess import PREPROCESS

SINGLE = 2e-5  # float32 through up to 19 layers, the sums in another order


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("name", vgg.STAGES)
def test_every_tensor_is_pytorchs(name, pooling):
    tensors = weights(name)
    x = picture(37, 50, batch=2) - np.float32(0.5)  # odd sizes: the pools floor
    wanted = TorchVgg(tensors, pooling)(x)
    got = features(models.build(name, tensors, pooling), list(wanted), x)
    assert len(wanted) == 2 * sum(vgg.STAGES[name]) + 5
    for tensor, value in wanted.items():
        assert got[tensor].shape == value.shape
        assert relative(got[tensor], value) < SINGLE, tensor


def test_the_classifier_is_pytorchs_at_224_and_dense_above():
    tensors = weights("vgg11", classifier=True)
    model = models.build("vgg11", tensors)
    onnx.checker.check_model(model, full_check=True)
    x = picture(224, 224)
    assert relative(features(model, ["logits"], x)["logits"], TorchVgg(tensors)(x)["logits"]) < SINGLE
    assert features(model, ["logits"], picture(260, 300))["logits"].shape == (1, 10)


def test_a_classifier_in_four_dimensions_is_the_same():
    tensors = weights("vgg11", classifier=True)
    x = picture(224, 224)
    wanted = features(models.build("vgg11", tensors), ["logits"], x)["logits"]
    tensors["fc6.weight"] = tensors["fc6.weight"].reshape(-1, 14, 7, 7)
    assert np.array_equal(features(models.build("vgg11", tensors), ["logits"], x)["logits"], wanted)


def test_the_poolings_differ():
    """The check is checked: the wrong pooling is far outside the tolerance above."""
    tensors, x = weights("vgg11"), picture()
    wanted = TorchVgg(tensors, "max")(x)["conv2_1"]
    got = features(models.build("vgg11", tensors, "avg"), ["conv2_1"], x)["conv2_1"]
    assert relative(got, wanted) > 100 * SINGLE


def test_models_are_valid_onnx():
    for name in vgg.STAGES:
        onnx.checker.check_model(models.build(name, weights(name)), full_check=True)
    onnx.checker.check_model(models.build("random"), full_check=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv3_2.weight": np.zeros((10, 9, 3, 3), np.float32)}, r"vgg13: conv3_2.weight must be \(O,10,k,k\), got"),
        ({"conv1_1.weight": np.zeros((6, 3, 2, 2), np.float32)}, "conv1_1.weight must have an odd kernel, got 2×2"),
        ({"conv2_1.bias": np.zeros(3, np.float32)}, r"conv2_1.bias must be \(8,\), got \(3,\)"),
        ({"fc6.weight": np.zeros((20, 14 * 50), np.float32)}, r"fc6.weight must be \(O, 14·k·k\), got \(20, 700\)"),
    ],
)
def test_shapes_that_do_not_fit_name_the_layer(change, says):
    tensors = {**weights("vgg13", classifier=True), **change}
    with pytest.raises(Error, match=says):
        models.build("vgg13", tensors)


def test_weights_of_another_architecture():
    with pytest.raises(Error) as error:
        models.build("vgg19", weights("vgg16"))
    assert str(error.value) == ("the weights are not those of vgg19 (2, 2, 4, 4, 4 convolutions a stage): got vgg16")
    missing = weights("vgg16")
    del missing["conv5_3.weight"]
    with pytest.raises(Error, match="got 2, 2, 3, 3, 2 convolutions a stage"):
        models.build("vgg16", missing)


@pytest.mark.parametrize("name", vgg.STAGES)
def test_architectures_are_recognised_by_their_names(name):
    assert models.recognise(weights(name)) == name


def test_unknown_weights_names_and_poolings():
    with pytest.raises(Error, match=r"no known architecture: got a.weight; accepted: (?!.*random).*vgg11"):
        models.recognise({"a.weight": np.zeros(1, np.float32)})
    with pytest.raises(Error, match="unknown architecture 'vgg18'; accepted: vgg1"):
        models.build("vgg18")
    with pytest.raises(Error, match="unknown pooling 'mean'; accepted: max, avg"):
        models.build("random", pooling="mean")


def test_orthogonal_rows_and_columns():
    rng = np.random.Generator(np.random.PCG64(3))
    wide = vgg.orthogonal(rng, (4, 3, 3, 3), 2.0).reshape(4, -1)
    tall = vgg.orthogonal(rng, (40, 3, 3, 3), 2.0).reshape(40, -1)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(4), atol=1e-12)
    np.testing.assert_allclose(tall.T @ tall, 4 * np.eye(27), atol=1e-12)


def test_random_is_made_by_its_seed():
    first, again, other = (random.initial(seed) for seed in (7, 7, 8))
    for name, value in first.items():
        assert np.array_equal(value, again[name])
    assert not np.array_equal(first["conv3_1.weight"], other["conv3_1.weight"])
    facts = models.network("random", seed=7).provenance
    assert facts == {"architecture": "random", "pooling": "avg", "weights": "random, seed 7"}


def test_randoms_filters_have_mean_activation_one():
    network = models.network("random")
    x = network.preprocess.apply(random.picture(96)).astype(np.float32)
    for name, value in features(network.model, list(network.layers.names), x).items():
        np.testing.assert_allclose(value.mean((0, 2, 3)), 1, rtol=1e-3, err_msg=name)
    assert network.preprocess == PREPROCESS["imagenet"]


def test_randoms_filters_have_no_mean():
    for name, value in random.initial(0).items():
        if name.endswith("weight"):
            assert np.abs(value.mean((1, 2, 3))).max() < 1e-6 * np.abs(value).max(), name


def test_randoms_own_convolution_is_onnxs():
    """Its normalisation runs in NumPy: the activations must be those of the graph."""
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((1, 3, 9, 11)), rng.standard_normal((5, 3, 3, 3))
    tensors = {"conv1_1.weight": w.astype(np.float32)}
    model = vgg.graph("one", (1,), 0, tensors, "max")
    wanted = features(model, ["conv1_1:linear"], x.astype(np.float32))["conv1_1:linear"]
    assert relative(random._convolved(x, w), wanted) < SINGLE
