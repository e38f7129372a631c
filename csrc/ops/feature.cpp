#include "ops/feature.h"

#include "cuda/twin.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

// A stretch of one picture in which weights, if any, run along.
struct Stretch {
  const float* features;
  const float* target;
  const float* weight;
  float* gradient;
  std::int64_t length;
  float factor;  // 2 scale
};

template <bool Accumulate, bool Weighted>
double stretch(const Stretch& stretch) {
  return simd::run([=]() STYLOGRAM_INLINE {
    const Stretch s = stretch;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < s.length; ++i) {
      const float delta = s.features[i] - s.target[i];
      const float weighted = Weighted ? s.weight[i] * delta : delta;
      sum += static_cast<double>(weighted) * static_cast<double>(delta);
      s.gradient[i] = s.factor * weighted + (Accumulate ? s.gradient[i] : 0.0F);
    }
    return sum;
  });
}

double any_stretch(const Stretch& s, bool accumulate) {
  if (s.weight == nullptr) return accumulate ? stretch<true, false>(s) : stretch<false, false>(s);
  return accumulate ? stretch<true, true>(s) : stretch<false, true>(s);
}

// Elements [begin, end) of picture n, cut where a channel ends if there are weights.
double range(const FeatureLoss& loss, std::int64_t n, std::int64_t begin, std::int64_t end) {
  const auto* features = static_cast<const float*>(loss.features);
  auto* gradient = static_cast<float*>(loss.gradient);
  const std::int64_t period = loss.weight == nullptr ? loss.m : loss.positions;
  double sum = 0;
  while (begin < end) {
    const std::int64_t offset = begin % period;
    const std::int64_t length = std::min(end - begin, period - offset);
    const std::int64_t at = n * loss.m + begin;
    const float* weight = loss.weight == nullptr ? nullptr : loss.weight + offset;
    sum += any_stretch(
        {features + at, loss.target + at, weight, gradient + at, length, static_cast<float>(2 * loss.scale[n])},
        loss.accumulate);
    begin += length;
  }
  return sum;
}

}  // namespace

void feature_loss(const FeatureLoss& loss, Stream stream) {
  if (stream.device == Device::cuda) {
    return cuda::twin<void(const FeatureLoss&, Stream)>("feature_loss")(loss, stream);
  }
  require_plain("feature_loss", loss.form);
  const Slices slices(loss.m, 32768, 64);
  sum_over_slices(loss.n, slices.count, loss.value, [&](std::int64_t n, std::int64_t slice) {
    return loss.scale[n] * range(loss, n, slices.begin(slice), slices.end(slice));
  });
}

}  // namespace stylogram::ops
