"""PyTorch's .pth, zipped or legacy: torchvision's VGGs, their ports of the Caffe models, and Gatys' vgg_conv.pth."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from ..errors import Error
from ..graph import one_line
from ..preprocess import PREPROCESS, Preprocess
from . import Weights
from ._checkpoint import ForeignError, read
from ._keys import from_pytorch, is_canonical, weights

NAME = "PyTorch (.pth)"
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's magic number, pickled
STATE_DICT = "what torch.save(model.state_dict(), file) writes"

# The first digits of the files' SHA-256. The ports have torchvision's keys but Caffe's preprocessing.
KNOWN = {
    "d01eb7cb": "caffe",  # vgg19, github.com/jcjohnson/pytorch-vgg
    "00b39a1b": "caffe",  # vgg16, the same
    "8a719046": "imagenet",  # torchvision's vgg11
    "19584684": "imagenet",  # vgg13
    "397923af": "imagenet",  # vgg16
    "dcbb9e9d": "imagenet",  # vgg19
}


def recognise(head: bytes, path: Path) -> bool:
    """A legacy torch.save, or a zip with a data.pkl in it."""
    if head.startswith(LEGACY):
        return True
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # the directory is at a zip's end: this one is cut off, or damaged in whatever way
        return b"data.pkl" in head


def load(path: Path) -> Weights:
    """The state dict's tensors. A file cannot run code, and PyTorch is not needed."""
    try:
        state = None if _is_script(path) else read(path)
    except ForeignError as error:
        what = f"but pickled objects, which may run code ({one_line(error, 80)}); accepted: {STATE_DICT}"
        raise Error(f"{path}: not a PyTorch file of weights alone, {what}") from error
    except Exception as error:  # what zipfile, pickle and NumPy stumble over in a damaged file has no common base
        why = one_line(error, 160) or type(error).__name__
        raise Error(f"{path}: not a PyTorch file of weights alone, or cut off: {why}") from error
    if state is None:
        raise Error(f"{path}: a TorchScript program, not weights alone; accepted: {STATE_DICT}")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise Error(f"{path}: a dict of tensors is needed, got {type(state).__name__}")
    tensors = {
        str(name): value
        for name, value in state.items()
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
    }
    digest = sha256(path)
    return weights(path, from_pytorch(path, tensors), preprocess_of(digest, is_canonical(tensors)), sha256=digest)


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def preprocess_of(digest: str, gatys: bool) -> Preprocess | None:
    """By the file's SHA-256; Gatys' names go with Caffe's preprocessing; None where nobody knows."""
    name = KNOWN.get(digest[:8], "caffe" if gatys else None)
    return None if name is None else PREPROCESS[name]


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
