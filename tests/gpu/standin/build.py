"""Libraries in place of CUDA's, cuDNN's and TensorRT's, for an onnxruntime-gpu on a machine without a GPU.

    python tests/gpu/standin/build.py FOLDER      # FOLDER/ort: onnxruntime-gpu, FOLDER/lib: the libraries

`cudart.cpp`, `cublas.cpp`, `cudnn.cpp`, `nvinfer.cpp` and `onnxparser.cpp` are what they do; every other function that
ONNX Runtime's providers ask for succeeds and does nothing, or makes an empty handle. Needs CUDA's headers, which come
with nvcc, GCC and nm.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIBRARIES = {
    "libcudart.so.13": (r"(__)?cuda\w+", HERE / "cudart.cpp"),
    "libcublas.so.13": (r"cublas(?!Lt)\w+", HERE / "cublas.cpp"),
    "libcublasLt.so.13": (r"cublasLt\w+", None),
    "libcurand.so.10": (r"curand\w+", None),
    "libcuda.so.1": (r"cu[A-Z]\w+", None),
    "libcudnn.so.9": (r"cudnn\w+", HERE / "cudnn.cpp"),
    "libnvinfer.so.10": (r"createInfer\w+", HERE / "nvinfer.cpp"),
    "libnvinfer_plugin.so.10": (r"initLibNvInferPlugins", None),
    "libnvonnxparser.so.10": (r"createNvOnnx\w+", HERE / "onnxparser.cpp"),
}


def headers() -> Path:
    """Where CUDA's headers are."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise SystemExit("CUDA's headers are needed, which come with nvcc: it is not here")
    said = subprocess.run([nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False).stderr
    for found in re.findall(r'"?-I([^"\s]+)"?', said):
        if (Path(found) / "cuda_runtime_api.h").exists():
            return Path(found)
    raise SystemExit("CUDA's headers are needed, and nvcc does not say where they are")


def fetch(folder: Path) -> None:
    """onnxruntime-gpu of the pinned version, unpacked."""
    version = re.search(r"(?m)^onnxruntime==(\S+)", (ROOT / "constraints.txt").read_text())
    assert version is not None
    wheels = folder / "wheels"
    command = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(wheels)]
    wanted = f"onnxruntime-gpu=={version[1]}"
    if subprocess.run([sys.executable, "-m", "pip", *command, wanted], check=False).returncode:
        print(f"the stand-in needs {wanted}, which cannot be fetched here", file=sys.stderr)
        raise SystemExit(77)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "part")
    shutil.rmtree(wheels)
    (folder / "part").rename(folder / "ort")


def asked(ort: Path) -> set[str]:
    """The functions that the providers ask for: as symbols, and of cuDNN, which one opens itself, as names."""
    cuda, tensorrt = (ort / f"onnxruntime/capi/libonnxruntime_providers_{name}.so" for name in ("cuda", "tensorrt"))
    nm = ["nm", "-D", "--undefined-only", "--format=posix", cuda, tensorrt]
    listed = subprocess.run(nm, capture_output=True, text=True, check=True)
    names = {line.split()[0].partition("@")[0] for line in listed.stdout.splitlines() if line}
    return names | {name.decode() for name in re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", cuda.read_bytes())}


def build(name: str, functions: set[str], source: Path | None, folder: Path, include: Path) -> None:
    """One library: its own source, and for the functions that this has not, ones that do nothing."""
    written = source.read_text() if source else ""
    lines = ["#include <stdlib.h>", "void standin_say(const char* what, const void* stream, const char* more);"]
    for function in sorted(functions):
        if re.search(rf"\b{function}\(", written):
            continue
        if "Create" in function:
            body = "(void** made) { *made = calloc(1, 4096); return 0; }"
        elif re.search(r"cublas.*(geam|gemm|Matmul$)", function):
            body = f'() {{ standin_say("cublas", 0, "{function}"); return 0; }}'
        else:
            body = "() { return 0; }"
        lines.append(f'__attribute__((visibility("default"))) long {function}{body}')
    made, script = folder / f"{name}.c", folder / f"{name}.map"
    made.write_text("\n".join(lines) + "\n")
    script.write_text(f"{name} {{ *; }};\n")  # the version that ONNX Runtime's symbols carry
    flags = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{include}"]
    given = [str(made), *([str(source)] if source else [])]
    given += [str(folder / "libcudart.so.13")] if name != "libcudart.so.13" else []  # where it is written down
    link = f"-Wl,-soname,{name},--version-script,{script}"
    subprocess.run(["gcc", *flags, *given, link, "-lstdc++", "-o", str(folder / name)], check=True)


def main(folder: Path) -> None:
    """All of it; what is there is not fetched again."""
    if not (folder / "ort").exists():
        fetch(folder)
    libraries = folder / "lib"
    libraries.mkdir(exist_ok=True)
    functions, include = asked(folder / "ort"), headers()
    for name, (form, source) in LIBRARIES.items():
        wanted = {function for function in functions if re.fullmatch(form, function)}
        build(name, wanted | ({"cuInit"} if name == "libcuda.so.1" else set()), source, libraries, include)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
