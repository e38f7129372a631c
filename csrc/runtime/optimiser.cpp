#include "runtime/optimiser.h"

#include <algorithm>

namespace stylogram::runtime {
namespace {

constexpr std::int64_t kCoarsest = 4;  // pixels: the side below which no reduction goes

std::int64_t levels(const Shape& shape) {
  std::int64_t count = 0;
  for (std::int64_t side = std::min(shape.height, shape.width) / kCoarsest; side > 1; side /= 2) ++count;
  return count;
}

ops::Lbfgs::Options recovering() {
  ops::Lbfgs::Options options;
  options.backtrack = true;
  return options;
}

}  // namespace

Optimiser::Optimiser(const Shape& shape, std::int64_t history, double growth)
    : size_(shape.count * 3 * shape.height * shape.width),
      lbfgs_(shape.count, 3 * shape.height * shape.width, history, recovering()) {
  if (growth <= 1) return;
  pyramid_ = std::make_unique<ops::Pyramid>(3 * shape.count, shape.height, shape.width, levels(shape), growth);
  z_.resize(static_cast<std::size_t>(size_));
  gradient_.resize(static_cast<std::size_t>(size_));
}

void Optimiser::step(float* pictures, const float* gradient, const double* losses) {
  const Stream cpu = {};
  if (pyramid_ == nullptr) return lbfgs_.step(pictures, gradient, losses, cpu);
  if (start_.empty()) start_.assign(pictures, pictures + size_);
  pyramid_->apply(gradient, gradient_.data(), cpu);
  lbfgs_.step(z_.data(), gradient_.data(), losses, cpu);
  pyramid_->apply_add(z_.data(), start_.data(), pictures, cpu);
}

}  // namespace stylogram::runtime
