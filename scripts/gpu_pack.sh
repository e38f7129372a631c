#!/usr/bin/env bash
# gpu_pack.sh PACK_ORT_GPU.py [PYTHON [SM]]: on a machine with a package index, put into .gpu/ what scripts/gpu_check.sh
# needs on a GPU machine without one: a small onnxruntime-gpu, the wheels that an image with PyTorch lacks, and of
# STYLOGRAM_SHARED (../shared), where it is, two pictures.
set -euo pipefail
cd "$(dirname "$0")/.."

pack=${1:?the path of pack_ort_gpu.py, which slims the wheel of onnxruntime-gpu}
python=${2:-3.12}
sm=${3:-90}
version=$(sed -n 's/^onnxruntime==//p' constraints.txt)
pip=(.venv/bin/python -m pip)

"${pip[@]}" install --quiet zstandard
mkdir -p .gpu/wheels
.venv/bin/python "$pack" --version "$version" --python "$python" --sm "$sm" -o .gpu/ort-gpu.tar.xz
for name in pydantic platformdirs; do
  "${pip[@]}" download --quiet --only-binary=:all: --python-version "$python" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -c constraints.txt -d .gpu/wheels "$name"
done
pictures=${STYLOGRAM_SHARED:-../shared}/data/pictures
if [[ -d $pictures ]]; then
  mkdir -p .gpu/shared/data/pictures
  cp "$pictures"/{tubingen,starry_night}.jpg .gpu/shared/data/pictures
fi
ls -l .gpu .gpu/wheels
