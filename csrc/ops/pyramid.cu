// One launch for each level down and one for each level up.
#include <cmath>
#include <limits>
#include <vector>

#include "cuda/plan.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "cuda/states.h"
#include "ops/pyramid.h"

namespace stylogram::cuda {
namespace {

struct Level {
  std::int64_t height, width;
  float scale;  // c_l
};

// How much sample `at` of `size` along one side counts in a sum of four: beyond an odd end lies nothing, beyond an even
// end and before the first the last and the first again.
__device__ float tap(const float* from, std::int64_t at, std::int64_t size, std::int64_t stride) {
  if (at >= size && size % 2 == 1) return 0.0F;
  return from[(at < 0 ? 0 : at >= size ? size - 1 : at) * stride];
}

// Coarse = D fine; a thread for each coarse pixel.
__global__ void __launch_bounds__(kThreads)
    halve(const float* fine, float* coarse, std::int64_t planes, Level from, Level to) {
  constexpr float weights[4] = {0.125F, 0.375F, 0.375F, 0.125F};
  const std::int64_t number = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t size = to.height * to.width;
  if (number >= planes * size) return;
  const float* plane = fine + number / size * from.height * from.width;
  const std::int64_t row = 2 * (number % size / to.width) - 1;
  const std::int64_t column = 2 * (number % to.width) - 1;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t at = row + i;
    if (at >= from.height && from.height % 2 == 1) continue;
    const float* line = plane + (at < 0 ? 0 : at >= from.height ? from.height - 1 : at) * from.width;
    float along = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) along += weights[j] * tap(line, column + j, from.width, 1);
    sum += weights[i] * along;
  }
  coarse[number] = sum;
}

// The sample of U that a fine one lies nearest to, and the next nearest, of `size` coarse ones.
__device__ std::int64_t next_nearest(std::int64_t fine, std::int64_t size) {
  const std::int64_t next = fine % 2 == 0 ? fine / 2 - 1 : fine / 2 + 1;
  return next < 0 ? 0 : next >= size ? size - 1 : next;
}

// out = base + scale here + gain U coarse; a thread for each fine pixel. `coarse` and `base` may be null.
__global__ void __launch_bounds__(kThreads)
    add_doubled(const float* here, const float* base, const float* coarse, float* out, std::int64_t planes, Level fine,
                Level from, float gain) {
  const std::int64_t number = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t size = fine.height * fine.width;
  if (number >= planes * size) return;
  float sum = fine.scale * here[number];
  if (coarse != nullptr) {
    const float* plane = coarse + number / size * from.height * from.width;
    const std::int64_t i = number % size / fine.width;
    const std::int64_t j = number % fine.width;
    const float* near = plane + i / 2 * from.width;
    const float* far = plane + next_nearest(i, from.height) * from.width;
    const std::int64_t next = next_nearest(j, from.width);
    const float at_near = 0.75F * near[j / 2] + 0.25F * far[j / 2];
    const float at_next = 0.75F * near[next] + 0.25F * far[next];
    sum += gain * (0.75F * at_near + 0.25F * at_next);
  }
  out[number] = base == nullptr ? sum : base[number] + sum;
}

std::vector<Level> cut(std::int64_t height, std::int64_t width, std::int64_t levels, double growth) {
  std::vector<Level> made = {{height, width, 1.0F}};
  for (std::int64_t l = 1; l <= levels && height > 2 && width > 2; ++l) {
    height = (height + 1) / 2;
    width = (width + 1) / 2;
    const double scale = std::pow(growth, static_cast<double>(l)) * (1 - 1 / growth);
    check(scale <= std::numeric_limits<float>::max(), "pyramid", "growth^", l, " must be a float32, got growth ",
          growth);
    made.push_back({height, width, static_cast<float>(scale)});
  }
  return made;
}

std::size_t bytes(std::int64_t planes, const std::vector<Level>& levels) {
  std::int64_t floats = 0;
  for (std::size_t l = 1; l < levels.size(); ++l) floats += planes * levels[l].height * levels[l].width;
  return static_cast<std::size_t>(floats) * sizeof(float);
}

class Pyramid final : public PyramidState {
 public:
  Pyramid(std::int64_t planes, std::vector<Level> levels)
      : planes_(planes), levels_(std::move(levels)), memory_("pyramid", bytes(planes, levels_)) {
    float* place = memory_.as<float>();
    for (std::size_t l = 1; l < levels_.size(); ++l) {
      data_.push_back(place);
      place += planes * levels_[l].height * levels_[l].width;
    }
  }

  std::int64_t levels() const override { return static_cast<std::int64_t>(data_.size()); }

  void apply(const float* in, const float* base, float* out, Stream stream) override {
    for (std::size_t l = 0; l < data_.size(); ++l) {
      launch("pyramid", halve, blocks(levels_[l + 1]), kThreads, 0, stream, l == 0 ? in : data_[l - 1], data_[l],
             planes_, levels_[l], levels_[l + 1]);
    }
    for (std::size_t l = data_.size(); l-- > 1;) double_to(l, data_[l - 1], nullptr, data_[l - 1], stream);
    double_to(0, in, base, out, stream);
  }

 private:
  dim3 blocks(const Level& level) const {
    return grid("pyramid", ceil_div(planes_ * level.height * level.width, kThreads), 1);
  }

  // u_l from d_l and u_{l+1}; the coarsest level is still d_L.
  void double_to(std::size_t l, const float* here, const float* base, float* out, Stream stream) {
    const bool alone = l == data_.size();
    const Level& coarse = levels_[alone ? l : l + 1];
    const float gain = l + 1 == data_.size() ? coarse.scale : 1.0F;
    launch("pyramid", add_doubled, blocks(levels_[l]), kThreads, 0, stream, here, base, alone ? nullptr : data_[l], out,
           planes_, levels_[l], coarse, gain);
  }

  std::int64_t planes_;
  std::vector<Level> levels_;
  Memory memory_;
  std::vector<float*> data_;  // of the levels from 1 on
};

PyramidState* make_pyramid(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels,
                           double growth) {
  check(planes >= 1 && height >= 1 && width >= 1 && levels >= 0 && growth > 1 && std::isfinite(growth), "pyramid",
        "sizes >= 1, levels >= 0 and a finite growth > 1 are accepted");
  return new Pyramid(planes, cut(height, width, levels, growth));
}

const Registration here("make_pyramid", &make_pyramid);

}  // namespace
}  // namespace stylogram::cuda
