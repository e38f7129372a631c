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


@pytest.mark.filterwarnings("ignore::UserWarning")  # of quantised tensors, which are old
@LEGACY
def test_what_checkpoints_have_beside_their_tensors(tmp_path, legacy):
    net = torch.nn.Linear(2, 3)
    net.register_buffer("seen", torch.nn.Buffer(torch.arange(3.0)))
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    plan = torch.optim.lr_scheduler.MultiStepLR(adam, [2, 3])  # whose state has a Counter
    marked = torch.arange(2.0)
    marked.mark = "of its own"
    content = {
        "state_dict": net.state_dict(), "optimizer": adam.state_dict(), "plan": plan.state_dict(), "bytes": b"\xff\0",
        "set": {1, 2}, "array": bytearray(b"a"), "complex": 1j, "kinds": [torch.complex64, torch.float8_e4m3fn],
        "layout": torch.strided, "marked": marked, "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"), "quantised": torch.quantize_per_tensor(marked, 0.1, 0, torch.qint8),
    }  # fmt: skip
    path = saved(tmp_path / "c.pth", content, legacy)
    assert torch.load(path, weights_only=True)["bytes"] == b"\xff\0"  # it is a file that PyTorch reads
    got = read(path)
    for name, value in net.state_dict().items():
        assert np.array_equal(got["state_dict"][name], value.numpy())
    assert got["marked"].tolist() == [0, 1]
    assert got["optimizer"]["param_groups"][0]["lr"] == 1e-3


def test_a_tensor_at_the_end_may_look_like_a_zips_directory(tmp_path):
    directory = np.frombuffer(b"PK\x05\x06".ljust(22, b"\0"), np.uint8).copy()
    path = saved(tmp_path / "old.pth", {"a": torch.arange(3.0), "b": torch.from_numpy(directory)}, True)
    assert zipfile.is_zipfile(path)
    assert read(path)["a"].tolist() == [0, 1, 2]


@LEGACY
def test_a_file_that_is_damaged_anywhere_is_read_or_one_clear_line(tmp_path, legacy):
    """Bits are turned over in what is no number of a tensor; a value may be another then, but nothing else happens."""
    small = {f"conv{k}_1.weight": torch.ones(1, 1, 1, 1) for k in range(2)}
    whole = saved(tmp_path / "whole.pth", {"epoch": 3, "state_dict": small}, legacy).read_bytes()
    rng, path, failed = np.random.default_rng(0), tmp_path / "bad.pth", 0
    for _ in range(600):
        bad = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(4, len(bad))] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        with pytest.raises(Error) as error:  # what can be read is no VGG
            load_any(path)
        assert str(error.value).isprintable()
        failed += "not a PyTorch file" in str(error.value)
    assert failed > 50


PROGRAMS = {
    "a memo of gigabytes": b"}r" + struct.pack("<I", 2**31 - 1) + b".",
    "nested keys": b"})" + b"\x85" * 200_000 + b"K\x01s.",
    "a function changed": b"ctorch._utils\n_rebuild_tensor_v2\n(N}(X\x07\0\0\0__doc__X\x03\0\0\0ownutb.",
    "a type changed": b"ctorch\nFloatStorage\n}X\x04\0\0\0nameX\x01\0\0\0Osb.",
    "a number called": b"}K\x05)R.",
    "sizes of texts": b"}ctorch\nSize\n(X\x01\0\0\0attR.",
    "the wrong protocol": b"\x80\x42}.",
    "an extension": b"\x82\x01.",
    "nothing": b"",
}


@pytest.mark.parametrize("title", PROGRAMS)
def test_pickles_that_no_tensors_are_in(tmp_path, title):
    path = tmp_path / "bad.pth"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02" + PROGRAMS[title])
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)\n"
        "from stylogram_export import Error\n"
        "from stylogram_export.weights import load_any\n"
        f"try: load_any({str(path)!r})\n"
        "except Error as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith(str(path)), done.stderr[-500:]
    assert _checkpoint._tensor.__doc__ is None


def test_a_pickle_of_gigabytes_and_compressed_storages_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/data.pkl", b"\0" * (_checkpoint.LARGEST + 1))
    with pytest.raises(Error, match=r"no data.pkl, or one of gigabytes"):
        load_any(tmp_path / "bomb.pth")
    path = saved(tmp_path / "net.pth", {"a": torch.arange(3.0)}, False)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(Error, match="its storages are compressed"):
        load_any(tmp_path / "packed.pth")


def test_what_a_file_says_is_shown_as_text(tmp_path):
    pickled = b"\x80\x04\x8c\x05a\nb\x1b[\x8c\x03x\ny\x93."
    with zipfile.ZipFile(tmp_path / "odd.pth", "w") as made:
        made.writestr("a/data.pkl", pickled)
    with pytest.raises(Error, match=r"\(a b\?\[.x y\)") as error:
        load_any(tmp_path / "odd.pth")
    assert str(error.value).isprintable()


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
    [
        (0, (7,), (1,)),
        (5, (2,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (5, 1)),
        (0, (-2,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (0, (1,), (2**62,)),
        (0, (1, 1), (1,)),
        (0, (1,) * 80, (0,) * 80),
        (0, (1.5,), (1,)),
        (0, "a", (1,)),
        (0, (1 << 25,), (0,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, tensor):
    storage = Stored("storage", torch.FloatStorage, "0", "cpu", 6)
    assert read(archive(tmp_path / "good.pth", {"a": Rebuilt(storage, 0, (6,), (1,))}))["a"].shape == (6,)
    with pytest.raises(DamagedError, match=r"not all there|reaches beyond|not numbers"):
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
