"""Every weight format, on small files written here in that exact format: the same numbers out as PyTorch's VGG."""

import importlib
import io
import json
import pickle
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import onnx
import pytest
import torch
from export.weight_files import SINGLE, as_torch, check, keras, matconvnet
from narrow_vgg import TorchVgg, features, picture, relative, torchvision_keys, weights
from safetensors.numpy import save_file
from stylogram_export import models
from stylogram_export.errors import Error
from stylogram_export.network import save
from stylogram_export.preprocess import PREPROCESS, Preprocess
from stylogram_export.weights import formats, load_any

torch_format = importlib.import_module("stylogram_export.weights.torch")


def test_every_format_is_found():
    found = {candidate.NAME.split()[0] for candidate in formats()}
    assert found == {"Keras", "MatConvNet", "ONNX", "PyTorch", "safetensors"}


# --- PyTorch


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_torchvision(tmp_path, name, legacy):
    tensors, path = weights(name), tmp_path / "unnamed"  # no suffix: the content decides
    torch.save(as_torch(torchvision_keys(tensors)), path, _use_new_zipfile_serialization=not legacy)
    network = load_any(path)
    check(network, tensors, PREPROCESS["imagenet"], assumed=True)
    assert network.name == "unnamed"
    assert network.provenance["file"] == "unnamed"


def test_known_files_are_told_apart_by_their_hash(tmp_path, monkeypatch):
    tensors, path = weights("vgg16"), tmp_path / "net.pth"
    torch.save(as_torch(torchvision_keys(tensors)), path)
    digest = torch_format.sha256(path)
    for name in ("caffe", "imagenet"):
        monkeypatch.setitem(torch_format.KNOWN, digest[:8], name)
        check(load_any(path), tensors, PREPROCESS[name])
    check(load_any(path, "unit"), tensors, PREPROCESS["unit"])
    assert torch_format.KNOWN["d01eb7cb"] == torch_format.KNOWN["00b39a1b"] == "caffe"


def test_gatys(tmp_path):
    tensors = weights("vgg19")
    torch.save(as_torch(tensors), tmp_path / "vgg_conv.pth")
    check(load_any(tmp_path / "vgg_conv.pth"), tensors, PREPROCESS["caffe"])


@pytest.mark.parametrize("prefix", ["module.", "vgg.net."])
def test_wrapped_and_prefixed_state_dicts(tmp_path, prefix):
    tensors = weights("vgg11")
    state = {f"{prefix}{name}": value for name, value in as_torch(torchvision_keys(tensors)).items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pt")
    check(load_any(tmp_path / "checkpoint.pt"), tensors, PREPROCESS["imagenet"], assumed=True)


def test_half_precision_is_widened(tmp_path):
    tensors = {name: value.astype(np.float16) for name, value in weights("vgg11").items()}
    torch.save(as_torch(torchvision_keys(tensors)), tmp_path / "half.pth")
    wide = {name: value.astype(np.float32) for name, value in tensors.items()}
    check(load_any(tmp_path / "half.pth"), wide, PREPROCESS["imagenet"], assumed=True)


def test_batch_normalisation_is_folded(tmp_path):
    torch.manual_seed(4)
    blocks, channels = [], 3
    for stage, count in enumerate((1, 1, 2, 2, 2)):
        for _ in range(count):
            width = 6 + 2 * stage
            blocks += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
            channels = width
        blocks.append(torch.nn.MaxPool2d(2))
    net = torch.nn.Sequential(*blocks)
    x = picture()
    with torch.no_grad():
        for _ in range(3):
            net(torch.from_numpy(picture(64, 64, batch=8)))  # running statistics that are not 0 and 1
        wanted = net.eval()(torch.from_numpy(x)).numpy()
    torch.save({f"features.{name}": value for name, value in net.state_dict().items()}, tmp_path / "vgg11_bn.pth")
    network = load_any(tmp_path / "vgg11_bn.pth")
    assert network.provenance["architecture"] == "vgg11"
    assert relative(features(network.model, ["pool5"], x)["pool5"], wanted) < 1e-4  # scaled by 1/σ in each layer


def test_the_classifier_is_left_out_unless_asked_for(tmp_path):
    tensors = weights("vgg11", classifier=True)
    torch.save(as_torch(torchvision_keys(tensors)), tmp_path / "net.pth")
    assert load_any(tmp_path / "net.pth").model.graph.output[0].name == "pool5"
    network = load_any(tmp_path / "net.pth", classifier=True)
    x = picture(224, 224)
    assert relative(features(network.model, ["logits"], x)["logits"], TorchVgg(tensors)(x)["logits"]) < SINGLE


def test_whole_models_are_one_plain_line(tmp_path):
    """What torch says of them has several lines, and colours for a terminal."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    torch.save(net, tmp_path / "whole.pth")
    torch.save({"state_dict": net}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    cases = {
        "whole.pth": r"pickled objects, which may run code \(torch.nn.*Sequential\); accepted: what torch.save",
        "old.pth": r"pickled objects, which may run code \(torch.nn.*Sequential\); accepted: what torch.save",
        "script.pt": r"a TorchScript program, not weights alone; accepted: what torch.save",
    }
    (tmp_path / "script.pt").write_bytes(script(net))
    for name, says in cases.items():
        with pytest.raises(Error, match=says) as error:
            load_any(tmp_path / name)
        assert str(error.value).isprintable()


def script(net):
    """What torch.jit.save writes, as far as it is looked at: `torch.jit` itself is deprecated."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl", "version"):
            archive.writestr(f"script/{name}", "")
    return whole.getvalue()


class Gadget:
    """What a hostile file would hold: unpickling it would call something."""

    def __reduce__(self):
        return (print, ("run",))


def test_files_that_are_no_state_dict(tmp_path, capsys):
    whole = io.BytesIO()
    torch.save(as_torch(torchvision_keys(weights("vgg11"))), whole)
    wrong = {**as_torch(torchvision_keys(weights("vgg11"))), "features.1.weight": torch.zeros(6, 6, 3, 3)}
    cases = {
        "code.pth": ({"a": Gadget()}, "not a PyTorch file of weights alone"),
        "list.pth": ([1, 2], "a dict of tensors is needed, got list"),
        "other.pth": (
            {"layer1.weight": torch.zeros(3)},
            "features.N.weight or conv1_1.weight are needed, got layer1.wei",
        ),
        "gap.pth": (wrong, "features.1 does not follow features.0 as in a VGG"),
    }
    for name, (content, says) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(Error, match=says) as error:
            load_any(tmp_path / name)
        assert "\n" not in str(error.value)
        assert name in str(error.value)
    assert "run" not in capsys.readouterr().out
    (tmp_path / "cut.pth").write_bytes(whole.getvalue()[:5000])
    with pytest.raises(Error, match="cut off"):
        load_any(tmp_path / "cut.pth")


# --- safetensors


def test_safetensors(tmp_path):
    tensors, path = weights("vgg16"), tmp_path / "net.bin"
    save_file(torchvision_keys(tensors), path)
    check(load_any(path), tensors, PREPROCESS["imagenet"], assumed=True)
    save_file(tensors, path)
    check(load_any(path), tensors, PREPROCESS["caffe"])


@pytest.mark.parametrize("stated", ["unit", Preprocess("BGR", 2.0).to_json()])
def test_safetensors_state_their_preprocessing(tmp_path, stated):
    tensors, path = weights("vgg11"), tmp_path / "net.safetensors"
    save_file(torchvision_keys(tensors), path, {"stylogram.preprocess": stated})
    check(load_any(path), tensors, PREPROCESS["unit"] if stated == "unit" else Preprocess("BGR", 2.0))


def test_half_safetensors(tmp_path):
    half = {name: value.astype(np.float16) for name, value in weights("vgg11").items()}
    save_file(half, tmp_path / "half.safetensors")
    wide = {name: value.astype(np.float32) for name, value in half.items()}
    check(load_any(tmp_path / "half.safetensors"), wide, PREPROCESS["caffe"])


def test_a_safetensors_file_that_is_cut_off(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(weights("vgg11"), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Error, match="not a safetensors file, or cut off"):
        load_any(path)


# --- ONNX, and what all formats share


def in_every_format(tmp_path):
    """A file of each format under a neutral name, by the name of the format's module."""
    tensors = weights("vgg11")
    paths = {name: tmp_path / name for name in ("torch", "legacy", "safetensors", "matconvnet", "keras", "onnx")}
    torch.save(as_torch(tensors), paths["torch"])
    torch.save(as_torch(tensors), paths["legacy"], _use_new_zipfile_serialization=False)
    save_file(tensors, paths["safetensors"])
    matconvnet(tensors, paths["matconvnet"])
    keras(tensors, paths["keras"])
    save(models.network("vgg11", tensors, preprocess=PREPROCESS["caffe"]), paths["onnx"])
    return tensors, paths


@pytest.mark.parametrize("suffix", [".onnx", ".pth", ".h5", ".mat", ".safetensors", ".png"])
def test_a_wrong_suffix_does_not_matter(tmp_path, suffix):
    tensors, paths = in_every_format(tmp_path)
    for path in paths.values():
        network = load_any(path.rename(path.with_suffix(suffix)))
        held = {t.name: onnx.numpy_helper.to_array(t) for t in network.model.graph.initializer}
        assert all(np.array_equal(held[name], value) for name, value in tensors.items()), network.name


def test_the_name_alone_makes_no_onnx_file(tmp_path):
    """Their first bytes are tags of a model's fields, or they say what they are."""
    for text in ("<html>404</html>", "Big letters", '"quoted"', "version https://git-lfs.github.com/spec/v1", ":\x01x"):
        (tmp_path / "text.onnx").write_text(text)
        with pytest.raises(Error, match=r"text.onnx is of no known format \(by its content\)"):
            load_any(tmp_path / "text.onnx")


def test_an_onnx_file_may_have_its_fields_in_any_order(tmp_path):
    tensors, paths = in_every_format(tmp_path)
    model = onnx.load(paths["onnx"])
    graph = onnx.ModelProto(graph=model.graph).SerializeToString()
    model.ClearField("graph")
    rest = model.SerializeToString()
    (tmp_path / "network").write_bytes(graph + rest)
    check(load_any(tmp_path / "network"), tensors, PREPROCESS["caffe"])
    (tmp_path / "cut").write_bytes((graph + rest)[:-1])
    with pytest.raises(Error, match="no known format"):
        load_any(tmp_path / "cut")


def test_accepted_architectures_are_those_that_a_file_can_be(tmp_path):
    """`random` has weights that a seed makes: no file is one."""
    with h5py.File(tmp_path / "foo.h5", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(Error, match="weights of no known architecture: got none; accepted: ") as error:
        load_any(tmp_path / "foo.h5")
    accepted = str(error.value).rpartition("accepted: ")[2].split(", ")
    assert "vgg19" in accepted
    assert "random" not in accepted
    assert set(accepted) < set(models.architectures())


def test_onnx_with_other_preprocessing_and_pooling(tmp_path):
    tensors, path = weights("vgg11"), tmp_path / "network.of.someone"  # recognised by its content
    save(models.network("vgg11", tensors, preprocess=PREPROCESS["caffe"]), path)
    check(load_any(path), tensors, PREPROCESS["caffe"])
    check(load_any(path, "unit"), tensors, PREPROCESS["unit"])
    x = picture()
    averaged = features(load_any(path, pooling="avg").model, ["pool5"], x)["pool5"]
    assert relative(averaged, TorchVgg(tensors, "avg")(x)["pool5"]) < SINGLE


def test_pooling_of_weights(tmp_path):
    tensors = weights("vgg11")
    save_file(tensors, tmp_path / "net.safetensors")
    network = load_any(tmp_path / "net.safetensors", pooling="avg")
    x = picture()
    assert relative(features(network.model, ["pool5"], x)["pool5"], TorchVgg(tensors, "avg")(x)["pool5"]) < SINGLE
    assert network.provenance["pooling"] == "avg"


def test_another_architecture_than_asked_for(tmp_path):
    save_file(weights("vgg16"), tmp_path / "net.safetensors")
    with pytest.raises(Error, match="weights of vgg19 are needed, got those of vgg16"):
        load_any(tmp_path / "net.safetensors", architecture="vgg19")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv2_1.weight": np.full((8, 6, 3, 3), np.nan, np.float32)}, "conv2_1.weight has NaN or infinity"),
        (
            {"conv2_1.weight": np.zeros((8, 6, 3, 3), np.int32)},
            "conv2_1.weight must be floating-point numbers, got int32",
        ),
        (
            {"conv2_1.weight": np.zeros((8, 7, 3, 3), np.float32)},
            r"conv2_1.weight must be \(O,6,k,k\), got \(8, 7, 3, 3\)",
        ),
    ],
)
def test_broken_weights_name_the_layer_and_the_file(tmp_path, change, says):
    save_file({**weights("vgg11"), **change}, tmp_path / "net.safetensors")
    with pytest.raises(Error, match=says) as error:
        load_any(tmp_path / "net.safetensors")
    assert "net.safetensors" in str(error.value)


def test_files_of_no_format(tmp_path):
    contents = {
        "page.pth": b"<html>404</html>",
        "archive.pth": b"PK\x03\x04 not torch's",
        "pickle.pth": pickle.dumps({"a": 1}),
        "zeros.mat": bytes(2000),
        "notes.json": json.dumps({"a": 1}).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            Error, match=r"no known format \(by its content\); accepted: Keras \(.h5\), MatConvNet"
        ) as error:
            load_any(tmp_path / name)
        assert name in str(error.value)
    (tmp_path / "empty.pth").write_bytes(b"")
    for path, says in ((tmp_path / "empty.pth", "is empty"), (tmp_path, "is a directory"), (tmp_path / "x", "No such")):
        with pytest.raises(Error, match=says):
            load_any(path)


@pytest.mark.parametrize(
    ("library", "head"),
    [
        ("safetensors", (2).to_bytes(8, "little") + b"{}"),
        ("scipy.io", b"MATLAB 5.0 MAT-file".ljust(200)),
        ("h5py", b"\x89HDF\r\n\x1a\n".ljust(200)),
    ],
)
def test_a_missing_library_says_how_to_get_it(tmp_path, monkeypatch, library, head):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "file").write_bytes(head)
    with pytest.raises(Error, match=r"pip install 'stylogram\[weights\]'"):
        load_any(tmp_path / "file")


def test_reading_needs_no_library_until_it_is_used():
    """Importing the package must not import torch, SciPy, h5py or safetensors."""
    code = (
        "import sys, stylogram_export.weights as weights; weights.formats();"
        "print([name for name in ('torch', 'scipy', 'h5py', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
