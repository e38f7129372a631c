#!/usr/bin/env bash
# scripts/cpp.sh [FOLDER [CMAKE OPTION ...]]: builds libstylogram in FOLDER (build/cpp) and runs its tests with CTest.
# 77: there is no GoogleTest. PYTHON: one with Stylogram, which makes the tests' graphs (.venv/bin/python). JOBS: compilers at a time (all processors).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/cpp}
shift || true
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
jobs=${JOBS:-$(nproc)}

# GoogleTest is Debian's: installed, or unpacked here without root.
gtest=()
if ! echo '#include <gtest/gtest.h>' | ${CXX:-c++} -x c++ -fsyntax-only - 2>/dev/null; then
  if [ ! -d build/gtest/usr ]; then
    mkdir -p build/gtest
    (cd build/gtest && apt-get download -qq libgtest-dev && dpkg -x libgtest-dev_*.deb .) || {
      rm -rf build/gtest
      echo "GoogleTest is needed: apt-get install libgtest-dev" >&2
      exit 77
    }
  fi
  gtest=("-DGTest_ROOT=$PWD/build/gtest/usr")
fi

cmake -S . -B "$folder" -DSTYLOGRAM_LIBRARY=ON -DSTYLOGRAM_TESTS=ON -DSTYLOGRAM_WERROR=ON \
  -DSTYLOGRAM_PYTHON="$python" "${gtest[@]}" "$@"
cmake --build "$folder" --parallel "$jobs"
cd "$folder"
ctest --output-on-failure --no-tests=error ${CTEST_OPTIONS:-}
