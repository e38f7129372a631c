#include "ops/alpha_norm.h"

#include <cmath>

#include "cuda/twin.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

struct Stretch {
  const float* picture;
  float* gradient;
  std::int64_t length;
  float shift, factor, exponent;  // factor = scale alpha, exponent = alpha - 1
};

// Exponent 1 or 5 in products; kAny by pow.
constexpr int kAny = 0;

template <int Exponent>
double stretch(const Stretch& stretch) {
  return simd::run([=]() STYLOGRAM_INLINE {
    const Stretch s = stretch;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < s.length; ++i) {
      const float delta = s.picture[i] - s.shift;
      float slope = delta;  // sign |delta|^(alpha - 1)
      if constexpr (Exponent == 5) slope = delta * delta * (delta * delta) * delta;
      if constexpr (Exponent == kAny) {
        slope = delta == 0 ? 0.0F : std::copysign(std::pow(std::fabs(delta), s.exponent), delta);
      }
      sum += static_cast<double>(slope) * static_cast<double>(delta);
      s.gradient[i] += s.factor * slope;
    }
    return sum;
  });
}

}  // namespace

void alpha_norm(const AlphaNorm& norm, Stream stream) {
  if (stream.device == Device::cuda) {
    return cuda::twin<void(const AlphaNorm&, Stream)>("alpha_norm")(norm, stream);
  }
  check(norm.alpha >= 1 && std::isfinite(norm.alpha), "alpha_norm", "alpha must be finite and >= 1, got ", norm.alpha);
  const Slices slices(norm.d, 32768, 64);
  sum_over_slices(norm.n, slices.count, norm.value, [&](std::int64_t n, std::int64_t slice) {
    const std::int64_t at = n * norm.d + slices.begin(slice);
    const Stretch s{norm.picture + at,
                    norm.gradient + at,
                    slices.end(slice) - slices.begin(slice),
                    static_cast<float>(norm.shift),
                    static_cast<float>(norm.scale * norm.alpha),
                    static_cast<float>(norm.alpha - 1)};
    if (norm.alpha == 2) return norm.scale * stretch<1>(s);
    if (norm.alpha == 6) return norm.scale * stretch<5>(s);
    return norm.scale * stretch<kAny>(s);
  });
}

}  // namespace stylogram::ops
