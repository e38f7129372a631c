#!/usr/bin/env bash
# gpu_check.sh: everything about the GPU in one command, in under 9 minutes, on a machine with a GPU, CUDA 13 and PyTorch
# and without a package index: build, tests of the kernels and of whole runs, compute-sanitizer, benchmark against
# PyTorch. Writes bench/results/gpu-<device>.json and prints a short table last; says of each step that it leaves out why.
#
# scripts/gpu_pack.sh makes what it needs beside (.gpu/). GPU_CHECK_SECONDS: all it may take [520].
# Exit status: 0 if no step failed; a step that is left out is no failure, a machine without a GPU is one (3).
set -uo pipefail
cd "$(dirname "$0")/.."

root=$PWD
started=$SECONDS
limit=${GPU_CHECK_SECONDS:-520}
work=${GPU_CHECK_WORK:-$(mktemp -d)}
python=${PYTHON:-python3}
log=$work/log
steps=() # "name|ok, failed or skipped|seconds|what"
mkdir -p "$work"

left() { echo $((limit - (SECONDS - started))); }
note() { steps+=("$1|$2|$3|$4"); }

# step NAME SECONDS COMMAND...: run it within the seconds and what is left of all; its last line is kept.
step() {
  local name=$1 most=$2 from=$SECONDS
  shift 2
  local seconds=$(($(left) < most ? $(left) : most))
  if ((seconds < 10)); then
    note "$name" skipped 0 "no time is left"
    return 1
  fi
  timeout "$seconds" "$@" >"$log.$name" 2>&1
  local status=$?
  local last
  last=$(grep -v '^ *$' "$log.$name" | tail -1 | cut -c1-100)
  if ((status == 0)); then
    note "$name" ok $((SECONDS - from)) "$last"
  else
    ((status == 124)) && last="not done within $seconds s"
    note "$name" failed $((SECONDS - from)) "$last"
    tail -40 "$log.$name"
  fi
  return $status
}

table() {
  local failed=0 line name state seconds what
  echo
  for line in "${steps[@]}"; do
    IFS='|' read -r name state seconds what <<<"$line"
    printf '%-12s %-8s %4s s  %s\n' "$name" "$state" "$seconds" "$what"
    [[ $state == failed ]] && failed=1
  done
  echo "gpu_check: $((SECONDS - started)) s in all; logs in $work"
  return $failed
}

build() {
  cmake -S . -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DSTYLOGRAM_CUDA=ON \
    -DSTYLOGRAM_CUDA_ARCHITECTURES="${GPU_CHECK_ARCHITECTURES:-native}" -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build "$work/build" --parallel "$(nproc)" &&
    mkdir -p "$work/site" &&
    cp -r engine/stylogram export/stylogram_export bench/stylogram_bench "$work/site/" &&
    cp "$work"/build/_core*.so "$work"/build/_cuda.so "$work/site/stylogram/" &&
    metadata && echo "built with $(nvcc --version | tail -1)"
}

# What importlib.metadata and the package's version are read from.
metadata() {
  mkdir -p "$work/site/stylogram-0.dist-info"
  printf 'Metadata-Version: 2.1\nName: stylogram\nVersion: %s\n' \
    "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)" >"$work/site/stylogram-0.dist-info/METADATA"
}

unpack() {
  mkdir -p "$work/ort" "$work/wheels"
  tar -C "$work/ort" -xJf .gpu/ort-gpu.tar.xz || return 1
  if compgen -G ".gpu/wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$work/wheels" .gpu/wheels/*.whl || return 1
  fi
  PYTHONPATH="$work/ort" "$python" -c "import onnxruntime as o; o.preload_dlls(); print('onnxruntime', o.__version__, *o.get_available_providers())"
}

# The image's own versions may warn of what ours do not.
pytest() { "$python" -m pytest -q -W default "$@"; }

sanitize() {
  # The emulated sizes are enough: what is looked for does not depend on the size, and checks slow kernels down 100 times.
  local tool=$1
  local chosen="gram_loss_is and 65 or feature_loss_is and size2 or tv_is and shape0 and 2.5 or alpha_norm and 77"
  chosen+=" or two_loop and 3000-4 or pyramid_is and 5-shape0 or adam"
  local files=(tests/kernels/test_cuda.py tests/kernels/test_cuda_last.py)
  if [[ $network == yes ]]; then
    files+=(tests/kernels/test_cuda_ops.py)
    chosen+=" or (pools_are or averages_are) and shape1 and kernel2 or a_bias and shape1 or a_relu and 4099 or casts_are and shape2 or the_peak"
  fi
  STYLOGRAM_TEST_SMALL=1 compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
    "$python" -m pytest -q -W default -x "${files[@]}" -k "$chosen"
}

if ! nvidia-smi -L >"$log.gpu" 2>&1; then
  note gpu skipped 0 "no GPU: $(tail -1 "$log.gpu" | cut -c1-80)"
  table
  exit 3
fi
note gpu ok 0 "$(head -1 "$log.gpu" | cut -d'(' -f1)"
command -v nvcc >/dev/null || export PATH=/usr/local/cuda/bin:$PATH

if ! step build 240 build; then
  table
  exit 1
fi
export PYTHONPATH=$work/site:$root/tests STYLOGRAM_TEST_CUDA=gpu STYLOGRAM_SHARED=${STYLOGRAM_SHARED:-$root/.gpu/shared}
network=no
if [[ -f .gpu/ort-gpu.tar.xz ]]; then
  if step onnxruntime 60 unpack; then
    export PYTHONPATH=$work/wheels:$work/ort:$PYTHONPATH
    network=yes
  fi
else
  note onnxruntime skipped 0 "no .gpu/ort-gpu.tar.xz: scripts/gpu_pack.sh makes it"
fi

step kernels 150 pytest tests/kernels/test_cuda.py tests/kernels/test_cuda_last.py
if [[ $network == yes ]]; then
  step ops 75 pytest tests/kernels/test_cuda_ops.py
  step runs 120 pytest tests/gpu
  step bench 170 "$python" -m stylogram_bench.gpu --seconds 150 -o bench/results
  [[ -f $log.bench ]] && sed -n '/^ours/,$p' "$log.bench"
else
  note ops skipped 0 "our ops need onnxruntime-gpu"
  note runs skipped 0 "the network needs onnxruntime-gpu"
  note bench skipped 0 "the network needs onnxruntime-gpu"
fi
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    step "$tool" 90 sanitize "$tool"
  else
    note "$tool" skipped 0 "no compute-sanitizer"
  fi
done
table
