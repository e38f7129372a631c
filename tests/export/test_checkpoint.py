"""Files of torch.save against PyTorch's own reading of them, and what must not be read."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from export.weight_files import as_torch
from narrow_vgg import torchvision_keys, weights
from stylogram_export import Error
from stylogram_export.weights import _checkpoint, load_any
from stylogram_export.weights._checkpoint import DamagedError, ForeignError, read

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def saved(path, content, legacy):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def of_every_kind():
    """Tensors of all types, parts of one storage, turned, spread, empty and of no axes."""
    base = torch.arange(-30, 30).reshape(3, 4, 5)
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
             torch.int8, torch.bool)  # fmt: skip
    made = {str(kind): base.to(kind) for kind in kinds}
    wide = torch.linspace(-2, 2, 60).reshape(3, 4, 5)
    made |= {"bytes": torch.arange(7, dtype=torch.uint8), "part": wide[1:, 2], "turned": wide.permute(2, 0, 1),
             "spread": torch.tensor([2.5]).expand(4, 3), "empty": torch.zeros(0, 3), "one": torch.tensor(1.25),
             "parameter": torch.nn.Parameter(wide * 2),
             "bf16 turned": wide.to(torch.bfloat16).permute(2, 0, 1)}  # fmt: skip
    return made


@LEGACY
def test_every_tensor_is_what_pytorch_reads(tmp_path, legacy):
    content = {"state_dict": of_every_kind(), "epoch": 3, "size": torch.Size([2, 3]), "kind": torch.float16,
               "where": torch.device("cpu"), "rates": [0.1, None, (1, "a")]}  # fmt: skip
    path = saved(tmp_path / "c.pth", content, legacy)
    got, wanted = read(path), torch.load(path, weights_only=True)
    assert set(got) == set(wanted)
    assert (got["epoch"], got["size"], got["rates"]) == (3, (2, 3), [0.1, None, (1, "a")])
    for name, tensor in wanted["state_dict"].items():
        array = got["state_dict"][name]
        assert array.shape == tuple(tensor.shape), name
        tensor = tensor.detach()
        exact = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert array.dtype == exact.numpy().dtype, name
        assert np.array_equal(array, exact.numpy()), name


def test_a_state_dict_with_metadata_and_bytes_as_storages(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    path = saved(tmp_path / "net.pth", net.state_dict(), False)
    got = read(path)
    assert list(got) == list(net.state_dict())
    assert all(np.array_equal(got[name], value.numpy()) for name, value in net.state_dict().items())
    # Version 3 of a tensor: its type beside a storage of bytes.
    many = {"wide": torch.tensor([0, 1, 2, 3], dtype=torch.uint32), "after": torch.arange(3.0)}
    got = read(saved(tmp_path / "many.pth", many, False))
    assert got["wide"].dtype == np.uint32
    assert got["wide"].tolist() == [0, 1, 2, 3]
    assert got["after"].tolist() == [0, 1, 2]


def test_bytes_in_the_other_order(tmp_path):
    path = saved(tmp_path / "net.pth", {"a": torch.arange(3, dtype=torch.int16)}, False)
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    assert read(other)["a"].tolist() == [0, 256, 512]


@LEGACY
def test_pytorch_is_not_needed(tmp_path, legacy):
    path = saved(tmp_path / "vgg.pth", as_torch(torchvision_keys(weights("vgg11"))), legacy)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from stylogram_export.weights import load_any\n"
        f"print(load_any({str(path)!r}).provenance['architecture'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "vgg11", done.stderr


@LEGACY
def test_a_file_cut_anywhere_is_one_clear_line(tmp_path, legacy):
    whole = saved(tmp_path / "whole.pth", as_torch(torchvision_keys(weights("vgg11"))), legacy).read_bytes()
    for part in (0.01, 0.2, 0.5, 0.9, 0.999):
        (tmp_path / "cut.pth").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(Error, match="not a PyTorch file of weights alone, or cut off") as error:
            load_any(tmp_path / "cut.pth")
        assert "\n" not in str(error.value)


class Calls:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    "thing",
    [Calls(print, ("run",)), Calls(eval, ("1",)), Calls(getattr, (1, "real")), Calls(open, ("x", "w")),
     Calls(torch.load, ("x",)), Calls(np.dtype, ("f4",)), torch.nn.Linear(2, 2)],
)  # fmt: skip
@LEGACY
def test_what_calls_something_is_not_read(tmp_path, capsys, monkeypatch, thing, legacy):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "code.pth", {"a": thing}, legacy)
    with pytest.raises(ForeignError):
        read(path)
    with pytest.raises(Error, match=r"pickled objects, which may run code \([\w.]+\); accepted: what torch.save"):
        load_any(path)
    assert "run" not in capsys.readouterr().out
    assert not (tmp_path / "x").exists()


def archive(path, content, data=b"\0" * 24):
    """A zip as PyTorch's with a pickle of ours; `content` may have Stored in it."""
    made = io.BytesIO()
    pickler = pickle.Pickler(made, protocol=2)
    pickler.persistent_id = lambda thing: thing.pid if isinstance(thing, Stored) else None
    pickler.dump(content)
    ours, theirs = b"stylogram_export.weights._checkpoint\n_tensor\n", b"torch._utils\n_rebuild_tensor_v2\n"
    text = made.getvalue().replace(ours, theirs)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", text)
        made.writestr("a/data/0", data)
    return path


class Stored:
    def __init__(self, *pid):
        self.pid = pid


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _checkpoint._tensor, self.arguments


@pytest.mark.parametrize(
    "tensor",
    [(0, (7,), (1,)), (5, (2,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (5, 1)), (0, (-2,), (1,))],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, tensor):
    storage = Stored("storage", torch.FloatStorage, "0", "cpu", 6)
    assert read(archive(tmp_path / "good.pth", {"a": Rebuilt(storage, 0, (6,), (1,))}))["a"].shape == (6,)
    with pytest.raises(DamagedError, match=r"not all there|reaches beyond"):
        read(archive(tmp_path / "bad.pth", {"a": Rebuilt(storage, *tensor)}))
    missing = Stored("storage", torch.FloatStorage, "9", "cpu", 6)
    with pytest.raises(DamagedError, match="reaches beyond"):
        read(archive(tmp_path / "none.pth", {"a": Rebuilt(missing, 0, (6,), (1,))}))


@pytest.mark.parametrize("pid", [("module", 1, 2, 3, 4), ("storage", "torch.FloatStorage", "0", "cpu", 6), (1,)])
def test_a_storage_that_is_none_is_refused(tmp_path, pid):
    with pytest.raises(DamagedError, match="in no known way"):
        read(archive(tmp_path / "bad.pth", {"a": Stored(*pid)}))


def test_names_that_python_2_pickled(tmp_path):
    """As bytes, which are text: of vgg_conv.pth, and of torchvision's first files."""
    path = archive(tmp_path / "two.pth", {})
    pickled = b"\x80\x02}q\x00U\x02\xc3\xa9q\x01K\x05s."  # {"é": 5}
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", pickled)
    assert read(path) == {"é": 5}


def test_an_old_file_whose_storages_are_missing(tmp_path):
    made = io.BytesIO()
    for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": 1}, ["0"]):
        pickle.dump(thing, made, protocol=2)
    (tmp_path / "old.pth").write_bytes(made.getvalue() + struct.pack("<q", 4))
    with pytest.raises(DamagedError, match="ends before its storages"):
        read(tmp_path / "old.pth")
