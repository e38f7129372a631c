// out = D B for a batch of matrices in row order, and out (+)= that, each column scaled.
#pragma once

#include <cstdint>

namespace stylogram::gemm {

/// For each n: out[n] (+)= a[n] b[n] diag(column_scale[n]); a (rows, depth), b (depth, columns), out (rows, columns),
/// each contiguous, in float32. `column_scale` may be null (ones); `scale_stride` is 0 where all n share one.
struct Product {
  std::int64_t batch, rows, depth, columns;
  const float* a;
  const float* b;
  float* out;
  bool accumulate = false;
  const float* column_scale = nullptr;
  std::int64_t scale_stride = 0;
};

/// Blocked for the caches as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
void multiply(const Product& product);

}  // namespace stylogram::gemm
