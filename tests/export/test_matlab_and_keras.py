"""MatConvNet's and Keras' weights, on small files in exactly these formats: the same numbers out as PyTorch's VGG."""

import h5py
import numpy as np
import pytest
import scipy.io
from export.weight_files import SINGLE, check, keras, matconvnet
from narrow_vgg import TorchVgg, features, picture, relative, weights
from stylogram_export.errors import Error
from stylogram_export.preprocess import PREPROCESS, Preprocess
from stylogram_export.weights import load_any

# --- MatConvNet


@pytest.mark.parametrize("old", [False, True], ids=["meta", "old"])
def test_matconvnet(tmp_path, old):
    tensors, path = weights("vgg19"), tmp_path / "imagenet-vgg-verydeep-19.mat"
    matconvnet(tensors, path, old=old)
    network = load_any(path)
    assert network.preprocess.mean == pytest.approx((123.68, 116.779, 103.939), rel=1e-12)  # a mean over a picture
    check(network, tensors, Preprocess("RGB", 255.0, network.preprocess.mean))


def test_matconvnets_classifier_is_convolutions(tmp_path):
    tensors, path = weights("vgg11", classifier=True), tmp_path / "net.mat"
    stored = {**tensors, "fc6.weight": tensors["fc6.weight"].reshape(-1, 14, 7, 7)}
    matconvnet(stored, path)
    network = load_any(path, classifier=True)
    x = picture(224, 224)
    assert relative(features(network.model, ["logits"], x)["logits"], TorchVgg(tensors)(x)["logits"]) < SINGLE


def test_matlab_files_that_are_no_network(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"a": np.ones(3)})
    matconvnet(weights("vgg11"), tmp_path / "mean.mat", normalise=False)
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    matconvnet(weights("vgg11"), tmp_path / "whole.mat")
    (tmp_path / "cut.mat").write_bytes((tmp_path / "whole.mat").read_bytes()[:3000])
    cases = {
        "other.mat": "MatConvNet's `layers` is needed, got a",
        "mean.mat": "averageImage, three numbers or a picture, is needed",
        "new.mat": r"MATLAB 7.3 \(HDF5\) is not accepted",
        "cut.mat": "not a MATLAB 5 file, or cut off",
    }
    for name, says in cases.items():
        with pytest.raises(Error, match=says) as error:
            load_any(tmp_path / name)
        assert "\n" not in str(error.value)


# --- Keras


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("as_bytes", [False, True], ids=["text", "bytes"])
def test_keras(tmp_path, nested, as_bytes):
    tensors, path = weights("vgg19"), tmp_path / "net"
    keras(tensors, path, nested=nested, as_bytes=as_bytes)
    check(load_any(path), tensors, PREPROCESS["caffe"])


def test_kerass_classifier_reads_features_channels_last(tmp_path):
    tensors, path = weights("vgg11", classifier=True), tmp_path / "net.h5"
    channels_last = tensors["fc6.weight"].reshape(-1, 14, 7, 7).transpose(0, 2, 3, 1)
    keras({**tensors, "fc6.weight": channels_last.reshape(len(channels_last), -1)}, path)
    network = load_any(path, classifier=True)
    x = picture(224, 224)
    assert relative(features(network.model, ["logits"], x)["logits"], TorchVgg(tensors)(x)["logits"]) < SINGLE


def test_hdf5_files_that_are_no_network(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.ones(3)
    keras(weights("vgg11"), tmp_path / "whole.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:4000])
    for name, says in {
        "other.h5": "no known architecture",
        "cut.h5": "not a Keras file of weights, or cut off",
    }.items():
        with pytest.raises(Error, match=says) as error:
            load_any(tmp_path / name)
        assert "\n" not in str(error.value)
