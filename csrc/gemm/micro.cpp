#include "gemm/micro.h"

#include "simd.h"

#ifdef STYLOGRAM_X86
#include <immintrin.h>
#endif

// Each inclusion defines `table` in its namespace.
#define STYLOGRAM_TARGET
#define STYLOGRAM_LANES 4
#define STYLOGRAM_OUTER_ROWS 4
#define STYLOGRAM_DOT_ROWS 3
namespace stylogram::gemm::generic {
#include "gemm/micro_body.h"
}

#ifdef STYLOGRAM_X86
#define STYLOGRAM_TARGET STYLOGRAM_AVX2
#define STYLOGRAM_LANES 8
#define STYLOGRAM_OUTER_ROWS 6
#define STYLOGRAM_DOT_ROWS 3
namespace stylogram::gemm::avx2 {
#include "gemm/micro_body.h"
}

#define STYLOGRAM_TARGET STYLOGRAM_AVX512
#define STYLOGRAM_LANES 16
#define STYLOGRAM_OUTER_ROWS 13
#define STYLOGRAM_DOT_ROWS 5
namespace stylogram::gemm::avx512 {
#include "gemm/micro_body.h"
}
#endif

namespace stylogram::gemm {

const MicroKernels& micro_kernels() {
#ifdef STYLOGRAM_X86
  if (simd::level() == simd::Level::avx512) return avx512::table;
  if (simd::level() == simd::Level::avx2) return avx2::table;
#endif
  return generic::table;
}

}  // namespace stylogram::gemm
