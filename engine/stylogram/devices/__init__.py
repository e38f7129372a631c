"""Devices: the CPU, or a GPU through ONNX Runtime's CUDA or TensorRT: what is asked for, and what there is."""

import re
from dataclasses import dataclass

from stylogram_export.precision import PRECISIONS
from stylogram_export.precision import check as check_precision

from ..errors import Error, one_of
from . import library, sessions, tensorrt
from .arrays import Queue
from .graphs import Place

__all__ = ["DEVICES", "PRECISIONS", "Choice", "check_device", "check_precision", "choose"]

DEVICES = ("auto", "cpu", "cuda", "tensorrt")
_FORM = re.compile(r"(auto|cpu|cuda|tensorrt)(?::(\d+))?")


@dataclass(frozen=True)
class Choice:
    """Where a run takes place: `place` is None for the CPU. `note`: a line for the user, or ""."""

    place: Place | None = None
    note: str = ""


def check_device(device: object) -> str:
    """`device` if it is a name there is, or cuda:N; whether this machine has it is found by choose()."""
    found = _FORM.fullmatch(device) if isinstance(device, str) else None
    if found is None or (found.group(2) and found.group(1) in ("auto", "cpu")):
        raise one_of("device", str(device), (*DEVICES, "cuda:N"))
    return str(device)


def choose(device: str, precision: str = "fp32") -> Choice:
    """What to run on; `auto` takes CUDA where it works, else the CPU. Raises Error for what is not there."""
    check_precision(precision)
    name, _, number = check_device(device).partition(":")
    if name == "cpu":
        if precision != "fp32":
            raise Error(f"precision {precision}: on the CPU fp32 is accepted; --device cuda or tensorrt has the others")
        return Choice()
    if name == "auto":
        return _automatic(precision)
    return _on_gpu(name, int(number or 0), precision)


def _automatic(precision: str) -> Choice:
    try:
        chosen = _on_gpu("cuda", 0, precision)
    except Error as problem:
        if precision != "fp32":
            raise
        return Choice(note=f"device auto: runs on the CPU; {problem}")
    return chosen


def _on_gpu(name: str, index: int, precision: str) -> Choice:
    gpu = library.gpu(index)
    reason = sessions.missing() or (tensorrt.missing() if name == "tensorrt" else "")
    if reason:
        raise Error(f"device {name}: {reason}")
    note = f"runs on {gpu} in {precision}" + (" with TensorRT" if name == "tensorrt" else "")
    return Choice(Place(name, Queue(index), precision), note)
