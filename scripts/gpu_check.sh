#!/usr/bin/env bash
# gpu_check.sh [STEP ...]: everything about the GPU in one command, in under 9 minutes, on a machine with a GPU, CUDA 13
# and PyTorch and without a package index: build, tests of the kernels and of whole runs, benchmark against PyTorch,
# compute-sanitizer. Writes bench/results/gpu-<device>.json and prints a short table last; says of each step that it
# leaves out why.
#
# scripts/gpu_pack.sh makes what it needs beside (.gpu/). STEP: kernels, ops, runs, bench, memcheck or racecheck, to do
# these alone; what was built is kept in build/gpu. GPU_CHECK_SECONDS: all it may take [520]. Where OUT names a folder,
# the record and the logs are put there too.
# Exit status: 0 if no step failed; a step that is left out is no failure, a machine without a GPU is one (3).
set -uo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
limit=${GPU_CHECK_SECONDS:-520}
asked=("$@")
steps=() # "name|ok, failed or skipped|seconds|what"
export root=$PWD
export work=${GPU_CHECK_WORK:-$root/build/gpu}
export python=${PYTHON:-python3}
export network=no # whether there is an onnxruntime-gpu
log=$work/log
mkdir -p "$work"

left() { echo $((limit - (SECONDS - started))); }
note() { steps+=("$1|$2|$3|$4"); }

# step NAME SECONDS KEPT COMMAND...: run it, a function or a program, within the seconds, of which KEPT stay for others;
# its last line is kept. `late`: what it is if it is not done by then.
step() {
  local name=$1 most=$2 kept=$3 from=$SECONDS state=ok
  shift 3
  local seconds=$(($(left) - kept))
  ((seconds > most)) && seconds=$most
  if ((seconds < 10)); then
    note "$name" skipped 0 "no time is left"
    return 1
  fi
  timeout -k 10 "$seconds" bash -uo pipefail -c '"$@"' "$name" "$@" >"$log.$name" 2>&1
  local status=$?
  local last
  last=$(grep -v '^ *$' "$log.$name" | tail -1 | cut -c1-100)
  if ((status == 124 || status == 137)); then
    state=${late:-failed}
    last="not done within $seconds s"
  elif ((status != 0)); then
    state=failed
  fi
  note "$name" "$state" $((SECONDS - from)) "$last"
  [[ $state == failed ]] && tail -60 "$log.$name"
  return $status
}

# wanted STEP: whether it was asked for, or nothing was.
wanted() {
  local name
  ((${#asked[@]} == 0)) && return 0
  for name in "${asked[@]}"; do [[ $name == "$1" ]] && return 0; done
  return 1
}

# What it found, also if it is ended from outside.
hand_over() {
  [[ -n ${OUT:-} ]] || return 0
  cp bench/results/gpu-*.json "$OUT" 2>/dev/null
  tar -C "$work" -czf "$OUT/logs.tar.gz" $(cd "$work" && ls log.*)
}
trap hand_over EXIT

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
  local architecture generator=()
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)-real
  command -v ninja >/dev/null && generator=(-G Ninja)
  cmake -S . -B "$work/build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DSTYLOGRAM_CUDA=ON \
    -DSTYLOGRAM_CUDA_ARCHITECTURES="${GPU_CHECK_ARCHITECTURES:-$architecture}" \
    -DPython_EXECUTABLE="$(command -v "$python")" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build "$work/build" --parallel "$(nproc)" &&
    rm -rf "$work/site" && mkdir -p "$work/site" &&
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
  [[ -d $work/ort/onnxruntime ]] || tar -C "$work/ort" -xJf .gpu/ort-gpu.tar.xz || return 1
  if compgen -G ".gpu/wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$work/wheels" .gpu/wheels/*.whl || return 1
  fi
  PYTHONPATH=$work/wheels:$work/ort:$PYTHONPATH "$python" -c "
import onnxruntime
from stylogram.devices import sessions
raise SystemExit(sessions.missing() or print('onnxruntime', onnxruntime.__version__, 'and its libraries'))"
}

# Where pip put NVIDIA's libraries: onnxruntime looks for them beside itself only, and is elsewhere here.
libraries() {
  "$python" -c "
import glob, os, site
found = (glob.glob(folder + '/nvidia/**/lib*.so*', recursive=True) for folder in site.getsitepackages())
print(':'.join(sorted({os.path.dirname(file) for files in found for file in files})))"
}

# The image's own versions may warn of what ours do not.
pytest() { "$python" -m pytest -q -W default --tb=short --maxfail=15 "$@"; }

# sanitize TOOL: the emulated sizes are enough: what is looked for does not depend on the size, and checks slow kernels
# down 100 times. Our ops come last, in a process of their own: ONNX Runtime's kernels are there too.
sanitize() {
  local chosen="gram_loss_is and 65 or feature_loss_is and size2 or tv_is and shape0 and 2.5 or alpha_norm and 77"
  chosen+=" or two_loop and 3000-4 or pyramid_is and 5-shape0 or adam"
  sanitized "$1" "$chosen" tests/kernels/test_cuda.py tests/kernels/test_cuda_last.py || return
  [[ $network == yes ]] || return 0
  chosen="(pools_are or averages_are) and shape1 and kernel2 or bits_of_those and shape1 or a_bias and shape1 or a_relu and 4099"
  sanitized "$1" "$chosen or casts_are and shape2 or the_peak" tests/kernels/test_cuda_ops.py
}
sanitized() {
  STYLOGRAM_TEST_SMALL=1 CUDA_MODULE_LOADING=LAZY compute-sanitizer --tool "$1" --error-exitcode 9 \
    --target-processes all "$python" -m pytest -q -W default -x -k "$2" "${@:3}"
}

export -f build metadata unpack libraries pytest sanitize sanitized

if ! nvidia-smi -L >"$log.gpu" 2>&1; then
  note gpu skipped 0 "no GPU: $(tail -1 "$log.gpu" | cut -c1-80)"
  table
  exit 3
fi
note gpu ok 0 "$(head -1 "$log.gpu" | cut -d'(' -f1)"
command -v nvcc >/dev/null || export PATH=/usr/local/cuda/bin:$PATH

export PYTHONPATH=$work/site:$root/tests${PYTHONPATH:+:$PYTHONPATH} STYLOGRAM_TEST_CUDA=gpu STYLOGRAM_SHARED=${STYLOGRAM_SHARED:-$root/.gpu/shared}
if ! step build 240 0 build; then
  table
  exit 1
fi
found=$(libraries)
[[ -n $found ]] && export LD_LIBRARY_PATH=$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [[ -f .gpu/ort-gpu.tar.xz ]]; then
  if step onnxruntime 60 0 unpack; then
    export PYTHONPATH=$work/wheels:$work/ort:$PYTHONPATH network=yes
  fi
else
  note onnxruntime skipped 0 "no .gpu/ort-gpu.tar.xz: scripts/gpu_pack.sh makes it"
fi

bench=180 # seconds that the tests leave for it
wanted kernels && step kernels 120 $bench pytest tests/kernels/test_cuda.py tests/kernels/test_cuda_last.py
if [[ $network == yes ]]; then
  wanted ops && step ops 120 $bench pytest tests/kernels/test_cuda_ops.py
  wanted runs && step runs 120 $bench pytest tests/gpu/test_runs.py
  if wanted bench; then
    most=$(($(left) < 230 ? $(left) : 230))
    step bench "$most" 0 "$python" -m stylogram_bench.gpu --seconds $((most - 20)) -o bench/results
    sed -n '/^ours/,$p' "$log.bench"
  fi
else
  for name in ops runs bench; do
    wanted $name && note $name skipped 0 "it needs onnxruntime-gpu"
  done
fi
for tool in memcheck racecheck; do
  wanted $tool || continue
  if command -v compute-sanitizer >/dev/null; then
    late=skipped step "$tool" 90 0 sanitize "$tool"
  else
    note "$tool" skipped 0 "no compute-sanitizer"
  fi
done
table
