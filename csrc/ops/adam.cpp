#include "ops/adam.h"

#include <algorithm>
#include <cmath>

#include "cuda/twin.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

double checked_rate(double rate) {
  check(rate > 0 && std::isfinite(rate), "adam", "learning_rate must be finite and > 0, got ", rate);
  return rate;
}

struct Stretch {
  float* x;
  const float* gradient;
  float* m;
  float* v;
  std::int64_t length;
  float rest1, beta2, rest2;  // 1 - b1, b2, 1 - b2
  float rate, root, epsilon;  // rate / (1 - b1^t), 1 / sqrt(1 - b2^t)
};

void update(const Stretch& stretch) {
  simd::run([=]() STYLOGRAM_INLINE {
    const Stretch s = stretch;
#pragma omp simd
    for (std::int64_t i = 0; i < s.length; ++i) {
      const float g = s.gradient[i];
      const float m = s.m[i] + s.rest1 * (g - s.m[i]);
      const float v = s.beta2 * s.v[i] + s.rest2 * g * g;
      s.m[i] = m;
      s.v[i] = v;
      s.x[i] -= s.rate * m / (std::sqrt(v) * s.root + s.epsilon);
    }
  });
}

}  // namespace

Adam::Adam(std::int64_t n, std::int64_t d, const Options& options) : n_(n), d_(d), options_(options) {
  check(n >= 1 && d >= 1, "adam", "n and d must be >= 1, got ", n, " and ", d);
  checked_rate(options.learning_rate);
  for (const double beta : {options.beta1, options.beta2}) {
    check(beta >= 0 && beta < 1, "adam", "beta1 and beta2 must be in [0, 1), got ", beta);
  }
  check(options.epsilon >= 0, "adam", "epsilon must be >= 0, got ", options.epsilon);
  m_ = moments_.get(static_cast<std::size_t>(2 * n * d));
  v_ = m_ + n * d;
  reset();
}

void Adam::reset() {
  std::fill(m_, m_ + 2 * n_ * d_, 0.0F);
  steps_ = 0;
}

void Adam::set_learning_rate(double rate) { options_.learning_rate = checked_rate(rate); }

void Adam::step(float* x, const float* gradient, Stream stream) {
  require_cpu("adam", stream);
  const auto t = static_cast<double>(++steps_);
  const double rate = options_.learning_rate / (1 - std::pow(options_.beta1, t));
  const double root = 1 / std::sqrt(1 - std::pow(options_.beta2, t));
  const Slices slices(n_ * d_, 32768, 256);
  parallel_for(slices.count, [&](std::int64_t slice) {
    const std::int64_t at = slices.begin(slice);
    update({x + at, gradient + at, m_ + at, v_ + at, slices.end(slice) - at, static_cast<float>(1 - options_.beta1),
            static_cast<float>(options_.beta2), static_cast<float>(1 - options_.beta2), static_cast<float>(rate),
            static_cast<float>(root), static_cast<float>(options_.epsilon)});
  });
}

void gradient_descent(std::int64_t size, float* x, const float* gradient, double rate, Stream stream) {
  if (stream.device == Device::cuda) {
    using Twin = void(std::int64_t, float*, const float*, double, Stream);
    return cuda::twin<Twin>("gradient_descent")(size, x, gradient, rate, stream);
  }
  const Slices slices(size, 32768, 256);
  parallel_for(slices.count, [&](std::int64_t slice) {
    const std::int64_t end = slices.end(slice);
    const std::int64_t begin = slices.begin(slice);
    const auto factor = static_cast<float>(rate);
    simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) x[i] -= factor * gradient[i];
    });
  });
}

}  // namespace stylogram::ops
