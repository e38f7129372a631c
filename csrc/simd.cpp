#include "simd.h"

#include <atomic>
#include <cstdlib>

#include "check.h"

namespace stylogram::simd {
namespace {

Level named(const std::string& wanted) {
  std::string accepted;
  for (const Level level : levels()) {
    if (wanted == name(level)) return level;
    accepted += (accepted.empty() ? "" : ", ") + std::string(name(level));
  }
  fail("simd", "this CPU has the levels ", accepted, "; got '", wanted, "'");
}

std::atomic<Level>& current() {
  static std::atomic<Level> level = [] {
    const char* wanted = std::getenv("STYLOGRAM_SIMD");
    return wanted != nullptr && *wanted != '\0' ? named(wanted) : levels().back();
  }();
  return level;
}

}  // namespace

std::vector<Level> levels() {
  std::vector<Level> found = {Level::generic};
#ifdef STYLOGRAM_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) found.push_back(Level::avx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(Level::avx512);
  }
#endif
  return found;
}

Level level() { return current().load(std::memory_order_relaxed); }

void set_level(const std::string& wanted) { current() = named(wanted); }

const char* name(Level level) {
  switch (level) {
    case Level::avx512:
      return "avx512";
    case Level::avx2:
      return "avx2";
    default:
      return "generic";
  }
}

}  // namespace stylogram::simd
