// out = a b, float32: the product inside the Gram kernels, by itself.
#pragma once

#include <cstdint>

#include "dispatch.h"

namespace stylogram::ops {

/// out (m, n) = a (m, k) b (k, n), all contiguous.
void matmul(std::int64_t m, std::int64_t k, std::int64_t n, const float* a, const float* b, float* out, Stream stream);

}  // namespace stylogram::ops
