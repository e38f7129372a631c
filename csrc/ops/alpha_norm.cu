#include <cmath>

#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "ops/alpha_norm.h"

namespace stylogram::cuda {
namespace {

using ops::AlphaNorm;

// sign(delta) |delta|^exponent; exponents 1 and 5 in products.
__device__ float slope_at(float delta, float exponent) {
  if (exponent == 1) return delta;
  if (exponent == 5) return delta * delta * (delta * delta) * delta;
  return delta == 0 ? 0.0F : copysignf(powf(fabsf(delta), exponent), delta);
}

__global__ void __launch_bounds__(kThreads) alpha_norm_kernel(AlphaNorm norm, double* partials, unsigned* counters) {
  const Cut cut = streaming(norm.d);
  const std::int64_t n = blockIdx.y;
  const auto shift = static_cast<float>(norm.shift);
  const auto factor = static_cast<float>(norm.scale * norm.alpha);
  const auto exponent = static_cast<float>(norm.alpha - 1);
  const std::int64_t end = cut.end(blockIdx.x);
  double sum = 0;
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    const float delta = norm.picture[n * norm.d + i] - shift;
    const float slope = slope_at(delta, exponent);
    sum += static_cast<double>(slope) * static_cast<double>(delta);
    norm.gradient[n * norm.d + i] += factor * slope;
  }
  double total = 0;
  if (sum_over_blocks<kThreads>(sum, partials, counters, &total) && threadIdx.x == 0) {
    norm.value[n] += norm.scale * total;
  }
}

void alpha_norm(const AlphaNorm& norm, Stream stream) {
  const char* op = "alpha_norm";
  check(norm.alpha >= 1 && std::isfinite(norm.alpha), op, "alpha must be finite and >= 1, got ", norm.alpha);
  const Cut cut = streaming(norm.d);
  const Workspace work =
      workspace(op, stream, static_cast<std::size_t>(norm.n * cut.count), static_cast<std::size_t>(norm.n));
  launch(op, alpha_norm_kernel, grid(op, cut.count, norm.n), kThreads, 0, stream, norm, work.doubles, work.counters);
}

const Registration here("alpha_norm", &alpha_norm);

}  // namespace
}  // namespace stylogram::cuda
