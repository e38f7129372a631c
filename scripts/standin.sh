#!/usr/bin/env bash
# standin.sh: what ONNX Runtime's CUDA and TensorRT providers make of our graphs, without a GPU: the real providers on
# libraries that stand in for CUDA's, cuDNN's and TensorRT's (tests/gpu/standin/). Fetches onnxruntime-gpu, a quarter of
# a GB, once (build/standin).
# 77: there is no nvcc, whose headers it needs, or no onnxruntime-gpu to be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v nvcc >/dev/null || {
  echo "the stand-in needs CUDA's headers, which come with nvcc: it is not here" >&2
  exit 77
}
folder=$PWD/build/standin
mkdir -p "$folder"
.venv/bin/python tests/gpu/standin/build.py "$folder"
LD_LIBRARY_PATH=$folder/lib PYTHONPATH=$folder/ort STYLOGRAM_TEST_STANDIN=1 \
  .venv/bin/python -m pytest -q -W default tests/gpu/test_provider.py tests/gpu/test_provider_convolutions.py \
  tests/gpu/test_tensorrt_provider.py "$@"
