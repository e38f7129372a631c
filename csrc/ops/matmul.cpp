#include "ops/matmul.h"

#include "gemm/product.h"

namespace stylogram::ops {

void matmul(std::int64_t m, std::int64_t k, std::int64_t n, const float* a, const float* b, float* out, Stream stream) {
  require_cpu("matmul", stream);
  gemm::multiply({1, m, k, n, a, b, out});
}

}  // namespace stylogram::ops
