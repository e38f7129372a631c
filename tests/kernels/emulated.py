"""The CUDA kernels for tests: compiled for an emulated GPU (emulator/), or the real library for a real one.

STYLOGRAM_TEST_CUDA: `900` (the default) or `750`, the compute capability that is emulated, or `gpu`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stylogram import _core
from stylogram.devices import library
from stylogram.devices.arrays import Queue

ROOT = Path(__file__).parents[2]
EMULATOR = ROOT / "tests/kernels/emulator"
CHOSEN = os.environ.get("STYLOGRAM_TEST_CUDA", "900")
ON_GPU = CHOSEN == "gpu"
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")


def sources() -> list[Path]:
    return [*sorted(ROOT.glob("csrc/*/*.cu")), *sorted(EMULATOR.glob("*.cpp"))]


def _digest(capability: str) -> str:
    headers = [*ROOT.glob("csrc/*.h"), *ROOT.glob("csrc/*/*.h"), *EMULATOR.glob("*.h")]
    digest = hashlib.sha256(capability.encode())
    for path in sorted([*sources(), *headers]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: str, source: Path, target: Path, capability: str, include: Path) -> None:
    """Another process may compile the same at the same time."""
    given = [f"-DSTYLOGRAM_EMULATED={capability}", "-U_FORTIFY_SOURCE", f"-I{EMULATOR}", f"-I{include}"]
    if source.suffix == ".cu":
        given += ["-fsanitize=thread,alignment", "-fno-sanitize-recover=alignment", "-g1"]  # see emulator/races.cpp
    part = target.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, *FLAGS, *given, "-c", "-o", str(part), "-x", "c++", str(source)], check=True)
    part.replace(target)


def relinked(folder: Path, csrc: Path, op: str, made: Path) -> Path:
    """The library that is in `folder`, with one op compiled from another copy of csrc/."""
    compiler = shutil.which("g++") or "g++"
    changed = made.with_suffix(".o")
    _compile(compiler, csrc / f"ops/{op}.cu", changed, CHOSEN, csrc)
    others = [str(path) for path in folder.glob(f"{CHOSEN}-*.o") if path.name != f"{CHOSEN}-{op}-ops.o"]
    subprocess.run([compiler, "-shared", "-o", str(made), str(changed), *others], check=True)
    return made


def build(capability: str, folder: Path) -> Path:
    """The library for an emulated GPU, from the folder if it is there. Skips where there is no compiler."""
    made = folder / f"emulated-{capability}-{_digest(capability)}.so"
    if made.exists():
        return made
    compiler = shutil.which("g++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the CUDA kernels are emulated with g++ on Linux, which is not here")
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> str:
        target = folder / f"{capability}-{source.stem}-{source.parent.name}.o"
        _compile(compiler, source, target, capability, ROOT / "csrc")
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources()))
    part = made.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-shared", "-o", str(part), *objects], check=True)
    part.replace(made)
    return made


def queue(folder: Path, late: bool = False) -> Queue:
    """A queue of the GPU under test. The library is opened for the whole process, in the place of the real one.

    `late`: nothing that is put in is done before somebody waits for it, so that a missing wait is seen.
    """
    if ON_GPU:
        library.gpu(0)  # an error here is a failure: a GPU was asked for
    elif not library_is_emulated():
        _core.cuda_open(str(build(CHOSEN, folder)))
    with pytest.MonkeyPatch.context() as patch:
        if late:
            patch.setenv("STYLOGRAM_EMULATED_LATE", "1")
        return Queue()


def library_is_emulated() -> bool:
    try:
        return bool(_core.cuda_device(0)["name"] == "emulator")
    except (RuntimeError, ValueError):  # the real library, without a driver; none
        return False
