#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "ops/feature.h"

namespace stylogram::cuda {
namespace {

using Loss = ops::FeatureLoss;

// Four numbers of one channel at a time where they can be read at once; `Width` is 4 or 1.
template <int Width>
__device__ double at(const Loss& loss, std::int64_t n, std::int64_t i, float factor) {
  double sum = 0;
  const std::int64_t place = n * loss.m + i;
  float f[Width], p[Width], g[Width];
  if constexpr (Width == 4) {
    *reinterpret_cast<float4*>(f) = *reinterpret_cast<const float4*>(loss.features + place);
    *reinterpret_cast<float4*>(p) = *reinterpret_cast<const float4*>(loss.target + place);
    if (loss.accumulate) *reinterpret_cast<float4*>(g) = *reinterpret_cast<const float4*>(loss.gradient + place);
  } else {
    f[0] = loss.features[place];
    p[0] = loss.target[place];
    if (loss.accumulate) g[0] = loss.gradient[place];
  }
#pragma unroll
  for (int k = 0; k < Width; ++k) {
    const float delta = f[k] - p[k];
    const float weighted = loss.weight == nullptr ? delta : loss.weight[(i + k) % loss.positions] * delta;
    sum += static_cast<double>(weighted) * static_cast<double>(delta);
    g[k] = factor * weighted + (loss.accumulate ? g[k] : 0.0F);
  }
  if constexpr (Width == 4) {
    *reinterpret_cast<float4*>(loss.gradient + place) = *reinterpret_cast<const float4*>(g);
  } else {
    loss.gradient[place] = g[0];
  }
  return sum;
}

template <int Width>
__global__ void __launch_bounds__(kThreads) feature_kernel(Loss loss, double* partials, unsigned* counters) {
  const Cut cut = streaming(loss.m);
  const std::int64_t n = blockIdx.y;
  const auto factor = static_cast<float>(2 * loss.scale[n]);
  const std::int64_t end = cut.end(blockIdx.x);
  double sum = 0;
  for (std::int64_t i = cut.begin(blockIdx.x) + Width * threadIdx.x; i < end; i += Width * kThreads) {
    sum += at<Width>(loss, n, i, factor);
  }
  double total = 0;
  if (sum_over_blocks<kThreads>(sum, partials, counters, &total) && threadIdx.x == 0) {
    loss.value[n] += loss.scale[n] * total;
  }
}

void feature_loss(const Loss& loss, Stream stream) {
  const char* op = "feature_loss";
  const Cut cut = streaming(loss.m);
  const Workspace work =
      workspace(op, stream, static_cast<std::size_t>(loss.n * cut.count), static_cast<std::size_t>(loss.n));
  const bool wide = loss.m % 4 == 0 && aligned(loss.features, loss.target, loss.gradient);
  launch(op, wide ? feature_kernel<4> : feature_kernel<1>, grid(op, cut.count, loss.n), kThreads, 0, stream, loss,
         work.doubles, work.counters);
}

const Registration here("feature_loss", &feature_loss);

}  // namespace
}  // namespace stylogram::cuda
