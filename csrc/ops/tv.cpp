#include "ops/tv.h"

#include <cmath>
#include <utility>

#include "cuda/twin.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

// The derivative of a term |d|^p is p |d|^(p-2) d, that of (dx^2 + dy^2)^(p/2) is p (dx^2 + dy^2)^(p/2-1) dx (and dy).
// So one function of the squared length r is enough, r^(p/2-1), and the term is r times it. Powers in use are products
// and roots; the others call pow.
enum class Power { one, two, two_and_a_half, three, any };

template <Power P>
STYLOGRAM_INLINE inline float bend(float squared, float exponent) {
  if constexpr (P == Power::one) return squared > 0 ? 1.0F / std::sqrt(squared) : 0.0F;
  if constexpr (P == Power::two) return 1.0F;
  if constexpr (P == Power::two_and_a_half) return std::sqrt(std::sqrt(squared));
  if constexpr (P == Power::three) return std::sqrt(squared);
  return squared > 0 ? std::pow(squared, exponent) : 0.0F;
}

// One row: the flows p r^(p/2-1) d along x and y, and the sum of its terms.
struct Row {
  const float* here;
  const float* below;  // null in the last row
  std::int64_t width;
  float* along;   // (width) flows to the right; the last is 0
  float* across;  // (width) flows downwards
  float factor, exponent;
};

template <Power P>
double isotropic_row(const Row& row) {
  return simd::run([=]() STYLOGRAM_INLINE {
    const Row r = row;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < r.width - 1; ++j) {
      const float dx = r.here[j + 1] - r.here[j];
      const float dy = r.below[j] - r.here[j];
      const float squared = dx * dx + dy * dy;
      const float weight = bend<P>(squared, r.exponent);
      sum += static_cast<double>(squared) * static_cast<double>(weight);
      r.along[j] = r.factor * weight * dx;
      r.across[j] = r.factor * weight * dy;
    }
    return sum;
  });
}

// The flows from `from` to `to`, which is the same row one pixel on, or the row below.
template <Power P>
double differences(const float* from, const float* to, std::int64_t count, float* flow, const Row& row) {
  const float factor = row.factor;
  const float exponent = row.exponent;
  return simd::run([=]() STYLOGRAM_INLINE {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < count; ++j) {
      const float delta = to[j] - from[j];
      if constexpr (P == Power::one) {
        sum += static_cast<double>(std::fabs(delta));
        flow[j] = delta == 0 ? 0.0F : std::copysign(factor, delta);
      } else {
        const float weight = bend<P>(delta * delta, exponent);
        sum += static_cast<double>(delta * delta) * static_cast<double>(weight);
        flow[j] = factor * weight * delta;
      }
    }
    return sum;
  });
}

template <Power P>
double row_flows(const Row& row, TvKind kind) {
  row.along[row.width - 1] = 0;
  row.across[row.width - 1] = 0;
  const bool last = row.below == nullptr;
  if (kind == TvKind::anisotropic) {
    const double along = differences<P>(row.here, row.here + 1, row.width - 1, row.along, row);
    if (!last) return along + differences<P>(row.here, row.below, row.width, row.across, row);
    std::fill(row.across, row.across + row.width, 0.0F);
    return along;
  }
  if (!last) return isotropic_row<P>(row);
  std::fill(row.along, row.along + row.width, 0.0F);
  std::fill(row.across, row.across + row.width, 0.0F);
  return 0;
}

double row_flows(const Row& row, const Tv& tv) {
  if (tv.power == 1) return row_flows<Power::one>(row, tv.kind);
  if (tv.power == 2) return row_flows<Power::two>(row, tv.kind);
  if (tv.power == 2.5) return row_flows<Power::two_and_a_half>(row, tv.kind);
  if (tv.power == 3) return row_flows<Power::three>(row, tv.kind);
  return row_flows<Power::any>(row, tv.kind);
}

// gradient += what flows in - what flows out, for one row. along[-1] is 0.
void add_divergence(const float* along, const float* across, const float* across_above, float* gradient,
                    std::int64_t width) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j) {
      gradient[j] += (along[j - 1] - along[j]) + (across_above[j] - across[j]);
    }
  });
}

// Rows [begin, end) of one plane. The row above the first gives its downward flow, and no value: its part counts it.
double rows(const Tv& tv, std::int64_t plane, std::int64_t begin, std::int64_t end) {
  thread_local Scratch<float> scratch;
  constexpr std::int64_t line = 16;
  const std::int64_t width = (tv.w + line - 1) / line * line;
  float* along = scratch.get(static_cast<std::size_t>(line + 3 * width)) + line;
  float* across = along + width;
  float* above = across + width;
  along[-1] = 0;
  const float* picture = tv.picture + plane * tv.h * tv.w;
  float* gradient = tv.gradient + plane * tv.h * tv.w;
  const auto factor = static_cast<float>(tv.scale * tv.power);
  const auto exponent = static_cast<float>(tv.power / 2 - 1);
  std::fill(above, above + tv.w, 0.0F);
  double sum = 0;
  for (std::int64_t i = std::max<std::int64_t>(0, begin - 1); i < end; ++i) {
    const float* here = picture + i * tv.w;
    const Row row{here, i + 1 < tv.h ? here + tv.w : nullptr, tv.w, along, across, factor, exponent};
    const double value = row_flows(row, tv);
    if (i >= begin) {
      sum += value;
      add_divergence(along, across, above, gradient + i * tv.w, tv.w);
    }
    std::swap(across, above);
  }
  return sum;
}

}  // namespace

void tv(const Tv& tv, Stream stream) {
  if (stream.device == Device::cuda) return cuda::twin<void(const Tv&, Stream)>("tv")(tv, stream);
  check(tv.power >= 1 && std::isfinite(tv.power), "tv", "power must be finite and >= 1, got ", tv.power);
  const Slices bands(tv.h, std::max<std::int64_t>(1, 32768 / tv.w), 16, 1);
  sum_over_slices(tv.n, tv.c * bands.count, tv.value, [&](std::int64_t n, std::int64_t slice) {
    const std::int64_t band = slice % bands.count;
    const std::int64_t plane = n * tv.c + slice / bands.count;
    return tv.scale * rows(tv, plane, bands.begin(band), bands.end(band));
  });
}

}  // namespace stylogram::ops
