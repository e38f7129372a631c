#include "cuda/product.h"
#include "cuda/registry.h"
#include "ops/matmul.h"

namespace stylogram::cuda {
namespace {

void matmul(std::int64_t m, std::int64_t k, std::int64_t n, const float* a, const float* b, float* out, Stream stream) {
  multiply("matmul", WideProduct{m, k, n, a, b, out}, 1, stream);
}

const Registration here("matmul", &matmul);

}  // namespace
}  // namespace stylogram::cuda
