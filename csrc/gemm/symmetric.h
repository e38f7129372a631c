// out = F diag(w) F^T for a batch of matrices in row order: half the work, since the result is symmetric.
#pragma once

#include <cstdint>

namespace stylogram::gemm {

/// For each n: out[n] = divisor[n]⁻¹ f[n] diag(root[n])² f[n]^T; f (rows, columns), out (rows, rows), contiguous
/// float32. `root` may be null (ones); `root_stride` is 0 where all n share one.
struct Symmetric {
  std::int64_t batch, rows, columns;
  const float* f;
  float* out;
  const double* divisor;
  const float* root = nullptr;
  std::int64_t root_stride = 0;
};

void multiply_by_transpose(const Symmetric& product);

}  // namespace stylogram::gemm
