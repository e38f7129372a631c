#!/usr/bin/env bash
# scripts/sanitize.sh [address|thread ...]: the tests of libstylogram under AddressSanitizer with
# UndefinedBehaviorSanitizer, and under ThreadSanitizer; both without arguments.
#
# ONNX Runtime itself is not instrumented. What ThreadSanitizer cannot see of it is in tests/cpp/thread.supp.
set -euo pipefail
cd "$(dirname "$0")/.."
kinds=("$@")
[ $# -gt 0 ] || kinds=(address thread)
export ASAN_OPTIONS=detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export LSAN_OPTIONS=suppressions=$PWD/tests/cpp/leak.supp:print_suppressions=0
export TSAN_OPTIONS=suppressions=$PWD/tests/cpp/thread.supp:halt_on_error=0:exitcode=66

for kind in "${kinds[@]}"; do
  case $kind in
    address) flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined" ;;
    thread) flags="-fsanitize=thread -Wno-tsan" ;; # a fence, which it does not model, beside locks, which it does
    *)
      echo "address or thread is accepted, got $kind" >&2
      exit 2
      ;;
  esac
  echo "== $kind"
  scripts/cpp.sh "build/cpp-$kind" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_C_FLAGS="$flags" \
    -DCMAKE_EXE_LINKER_FLAGS="$flags" -DCMAKE_SHARED_LINKER_FLAGS="$flags"
done
