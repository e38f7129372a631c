#include "ops/matmul.h"

#include "cuda/twin.h"
#include "gemm/product.h"

namespace stylogram::ops {

void matmul(std::int64_t m, std::int64_t k, std::int64_t n, const float* a, const float* b, float* out, Stream stream) {
  if (stream.device == Device::cuda) {
    using Twin = void(std::int64_t, std::int64_t, std::int64_t, const float*, const float*, float*, Stream);
    return cuda::twin<Twin>("matmul")(m, k, n, a, b, out, stream);
  }
  gemm::multiply({1, m, k, n, a, b, out});
}

}  // namespace stylogram::ops
