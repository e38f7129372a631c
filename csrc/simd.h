// One binary for every CPU: the instruction set is chosen when the program runs.
//
// Streaming loops are written once, as a lambda that the compiler vectorises for each level:
//   simd::run([=]() STYLOGRAM_INLINE { ... });
// Micro-kernels with explicit vectors (gemm/) are compiled once a level by inclusion. No file is compiled with
// -mavx...: inline functions of the standard library would then exist in a form that older CPUs cannot run.
#pragma once

#include <string>
#include <vector>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define STYLOGRAM_X86 1
#define STYLOGRAM_AVX2 __attribute__((target("avx2,fma")))
#define STYLOGRAM_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#endif

#define STYLOGRAM_INLINE __attribute__((always_inline))
#define STYLOGRAM_NOINLINE __attribute__((noinline))

namespace stylogram::simd {

enum class Level { generic, avx2, avx512 };

/// The levels that this CPU has, lowest first.
std::vector<Level> levels();
/// The level in use: the highest, or what STYLOGRAM_SIMD or set_level asked for.
Level level();
/// Throws std::invalid_argument for a name that is not one of this CPU's levels.
void set_level(const std::string& name);
const char* name(Level level);

#ifdef STYLOGRAM_X86
template <class Body>
STYLOGRAM_AVX512 STYLOGRAM_NOINLINE auto run_avx512(Body body) {
  return body();
}
template <class Body>
STYLOGRAM_AVX2 STYLOGRAM_NOINLINE auto run_avx2(Body body) {
  return body();
}
#endif

/// Runs a body compiled for the level in use. It captures by value: what is reached through a reference could alias
/// what the loop writes, and the compiler would not vectorise it.
template <class Body>
auto run(Body body) {
#ifdef STYLOGRAM_X86
  if (level() == Level::avx512) return run_avx512(body);
  if (level() == Level::avx2) return run_avx2(body);
#endif
  return body();
}

}  // namespace stylogram::simd
