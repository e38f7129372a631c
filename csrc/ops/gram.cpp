#include "ops/gram.h"

#include <cmath>
#include <vector>

#include "cuda/twin.h"
#include "gemm/product.h"
#include "gemm/symmetric.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

struct Weights {
  const double* sums;  // (N), W
  const float* roots;  // of w, as the mask; null without one
};

double checked_sum(const float* weights, float* roots, std::int64_t p) {
  double sum = 0;
  for (std::int64_t i = 0; i < p; ++i) {
    const float w = weights[i];
    if (!(w >= 0) || std::isinf(w)) fail("gram", "mask must be finite and >= 0, got ", w, " at position ", i);
    sum += static_cast<double>(w);
    roots[i] = std::sqrt(w);
  }
  if (!(sum > 0)) fail("gram", "mask must not be 0 everywhere");
  return sum;
}

// The square root goes to both sides of F diag(w) F^T, which so stays symmetric to the bit.
Weights prepare(const GramShape& shape) {
  thread_local Scratch<double> sums_of;
  thread_local Scratch<float> roots_of;
  double* sums = sums_of.get(static_cast<std::size_t>(shape.n));
  if (shape.mask == nullptr) {
    std::fill(sums, sums + shape.n, static_cast<double>(shape.p));
    return {sums, nullptr};
  }
  const std::int64_t masks = shape.mask_stride == 0 ? 1 : shape.n;
  float* roots = roots_of.get(static_cast<std::size_t>(masks * shape.p));
  for (std::int64_t n = 0; n < shape.n; ++n) {
    sums[n] = n < masks ? checked_sum(shape.mask + n * shape.p, roots + n * shape.p, shape.p) : sums[0];
  }
  return {sums, roots};
}

void gram_of(const GramShape& shape, const Weights& weights, const void* features, float* out) {
  gemm::Symmetric product{shape.n, shape.c, shape.p, static_cast<const float*>(features), out, weights.sums};
  product.root = weights.roots;
  product.root_stride = shape.mask_stride;
  gemm::multiply_by_transpose(product);
}

// difference = factor (gram - target); returns ||gram - target||_F^2 of this stretch.
double subtract(const float* gram, const float* target, float factor, float* difference, std::int64_t size) {
  return simd::run([=]() STYLOGRAM_INLINE {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) {
      const float delta = gram[i] - target[i];
      sum += static_cast<double>(delta) * static_cast<double>(delta);
      difference[i] = factor * delta;
    }
    return sum;
  });
}

}  // namespace

void gram(const GramShape& shape, const void* features, float* out, Stream stream) {
  if (stream.device == Device::cuda) {
    return cuda::twin<void(const GramShape&, const void*, float*, Stream)>("gram")(shape, features, out, stream);
  }
  require_plain("gram", shape.form);
  gram_of(shape, prepare(shape), features, out);
}

void gram_loss(const GramShape& shape, const GramLoss& loss, Stream stream) {
  if (stream.device == Device::cuda) {
    return cuda::twin<void(const GramShape&, const GramLoss&, Stream)>("gram_loss")(shape, loss, stream);
  }
  require_plain("gram_loss", shape.form);
  thread_local Scratch<float> scratch;
  const Weights weights = prepare(shape);
  gram_of(shape, weights, loss.features, loss.gram);
  const std::int64_t size = shape.c * shape.c;
  float* difference = scratch.get(static_cast<std::size_t>(shape.n * size));
  const Slices slices(size, 16384, 64);
  sum_over_slices(shape.n, slices.count, loss.value, [&](std::int64_t n, std::int64_t slice) {
    const std::int64_t at = n * size + slices.begin(slice);
    const auto factor = static_cast<float>(4 * loss.scale[n] / weights.sums[n]);
    const std::int64_t length = slices.end(slice) - slices.begin(slice);
    return loss.scale[n] * subtract(loss.gram + at, loss.target + at, factor, difference + at, length);
  });
  for (std::int64_t n = 0; n < shape.n; ++n) loss.value[n] += loss.offset[n];
  const auto* features = static_cast<const float*>(loss.features);
  gemm::Product product{shape.n, shape.c, shape.c, shape.p, difference, features, static_cast<float*>(loss.gradient)};
  product.accumulate = loss.accumulate;
  product.column_scale = shape.mask;
  product.scale_stride = shape.mask_stride;
  gemm::multiply(product);
}

}  // namespace stylogram::ops
