#include "winograd/kernels.h"

#include "simd.h"

#ifdef STYLOGRAM_X86
#include <immintrin.h>
#endif

// Each inclusion defines `table` in its namespace.
#define STYLOGRAM_TARGET
#define STYLOGRAM_LANES 4
namespace stylogram::winograd::generic {
#include "winograd/transforms.inl"
}  // namespace stylogram::winograd::generic
#undef STYLOGRAM_TARGET
#undef STYLOGRAM_LANES

#ifdef STYLOGRAM_X86
#define STYLOGRAM_TARGET STYLOGRAM_AVX2
#define STYLOGRAM_LANES 8
namespace stylogram::winograd::avx2 {
#include "winograd/transforms.inl"
}  // namespace stylogram::winograd::avx2
#undef STYLOGRAM_TARGET
#undef STYLOGRAM_LANES

#define STYLOGRAM_TARGET STYLOGRAM_AVX512
#define STYLOGRAM_LANES 16
namespace stylogram::winograd::avx512 {
#include "winograd/transforms.inl"
}  // namespace stylogram::winograd::avx512
#undef STYLOGRAM_TARGET
#undef STYLOGRAM_LANES
#endif

namespace stylogram::winograd {

const Kernels& kernels() {
#ifdef STYLOGRAM_X86
  if (simd::level() == simd::Level::avx512) return avx512::table;
  if (simd::level() == simd::Level::avx2) return avx2::table;
#endif
  return generic::table;
}

}  // namespace stylogram::winograd
