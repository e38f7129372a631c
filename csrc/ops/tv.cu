#include <cmath>

#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "ops/tv.h"

namespace stylogram::cuda {
namespace {

using ops::Tv;
using ops::TvKind;

// r^(p/2-1) for a squared length r: see tv.cpp. The exponent is p/2-1.
__device__ float bend(float squared, float exponent) {
  if (exponent == 0) return 1.0F;
  if (squared == 0) return 0.0F;
  if (exponent == -0.5F) return 1.0F / sqrtf(squared);
  if (exponent == 0.25F) return sqrtf(sqrtf(squared));
  if (exponent == 0.5F) return sqrtf(squared);
  return powf(squared, exponent);
}

struct Flow {
  float along = 0, across = 0;  // p r^(p/2-1) d, to the right and downwards
  double term = 0;
};

// What leaves pixel (i, j) of a plane.
template <TvKind Kind>
__device__ Flow flow_at(const Tv& tv, const float* plane, std::int64_t i, std::int64_t j, float factor,
                        float exponent) {
  Flow flow;
  const bool right = j + 1 < tv.w;
  const bool below = i + 1 < tv.h;
  const float* here = plane + i * tv.w + j;
  if (Kind == TvKind::isotropic) {
    if (!right || !below) return flow;
    const float dx = here[1] - here[0];
    const float dy = here[tv.w] - here[0];
    const float squared = dx * dx + dy * dy;
    const float weight = bend(squared, exponent);
    flow.term = static_cast<double>(squared) * static_cast<double>(weight);
    flow.along = factor * weight * dx;
    flow.across = factor * weight * dy;
    return flow;
  }
  const float dx = right ? here[1] - here[0] : 0.0F;
  const float dy = below ? here[tv.w] - here[0] : 0.0F;
  // |d| of a difference whose square is no float any more: by itself, as for p = 1 on the CPU.
  const bool one = exponent == -0.5F;
  const float wx = one ? (dx == 0 ? 0.0F : 1 / fabsf(dx)) : bend(dx * dx, exponent);
  const float wy = one ? (dy == 0 ? 0.0F : 1 / fabsf(dy)) : bend(dy * dy, exponent);
  flow.along = one ? (dx == 0 ? 0.0F : copysignf(factor, dx)) : factor * wx * dx;
  flow.across = one ? (dy == 0 ? 0.0F : copysignf(factor, dy)) : factor * wy * dy;
  flow.term = one ? static_cast<double>(fabsf(dx)) + static_cast<double>(fabsf(dy))
                  : static_cast<double>(dx * dx) * static_cast<double>(wx) +
                        static_cast<double>(dy * dy) * static_cast<double>(wy);
  return flow;
}

template <TvKind Kind>
__global__ void __launch_bounds__(kThreads) tv_kernel(Tv tv, double* partials, unsigned* counters) {
  const std::int64_t size = tv.h * tv.w;
  const Cut cut = streaming(tv.c * size);
  const std::int64_t n = blockIdx.y;
  const auto factor = static_cast<float>(tv.scale * tv.power);
  const auto exponent = static_cast<float>(tv.power / 2 - 1);
  const std::int64_t end = cut.end(blockIdx.x);
  double sum = 0;
  for (std::int64_t at = cut.begin(blockIdx.x) + threadIdx.x; at < end; at += kThreads) {
    const float* plane = tv.picture + n * tv.c * size + at / size * size;
    const auto pixel = static_cast<unsigned>(at % size);
    const std::int64_t i = pixel / static_cast<unsigned>(tv.w);
    const std::int64_t j = pixel % static_cast<unsigned>(tv.w);
    const Flow own = flow_at<Kind>(tv, plane, i, j, factor, exponent);
    const float left = j > 0 ? flow_at<Kind>(tv, plane, i, j - 1, factor, exponent).along : 0.0F;
    const float above = i > 0 ? flow_at<Kind>(tv, plane, i - 1, j, factor, exponent).across : 0.0F;
    tv.gradient[n * tv.c * size + at] += (left - own.along) + (above - own.across);
    sum += own.term;
  }
  double total = 0;
  if (sum_over_blocks<kThreads>(sum, partials, counters, &total) && threadIdx.x == 0) tv.value[n] += tv.scale * total;
}

void total_variation(const Tv& tv, Stream stream) {
  const char* op = "tv";
  check(tv.power >= 1 && std::isfinite(tv.power), op, "power must be finite and >= 1, got ", tv.power);
  check(tv.h * tv.w < (std::int64_t{1} << 32), op, "a plane has at most 2^32 - 1 pixels, got ", tv.h, " x ", tv.w);
  const Cut cut = streaming(tv.c * tv.h * tv.w);
  const Workspace work =
      workspace(op, stream, static_cast<std::size_t>(tv.n * cut.count), static_cast<std::size_t>(tv.n));
  launch(op, tv.kind == TvKind::isotropic ? tv_kernel<TvKind::isotropic> : tv_kernel<TvKind::anisotropic>,
         grid(op, cut.count, tv.n), kThreads, 0, stream, tv, work.doubles, work.counters);
}

const Registration here("tv", &total_variation);

}  // namespace
}  // namespace stylogram::cuda
