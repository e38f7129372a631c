// One launch for each large level down and one for each up; a block takes all the small levels of a plane at once, down
// and up. Where that begins is the same on every GPU.
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

constexpr std::int64_t kMostPixels = std::int64_t{1} << 31;  // of a plane: one less is the most
constexpr std::int64_t kCoarse = 64 * 64;  // pixels of a level that one block takes, with all that are coarser
constexpr int kMostCoarse = 8;             // levels there: a side of 64 gives 6
constexpr unsigned kMostThreads = 1024;

struct Level {
  int height, width;
  float scale;  // c_l

  STYLOGRAM_HD std::int64_t size() const { return static_cast<std::int64_t>(height) * width; }
};

// How much sample `at` of `size` along one side counts in a sum of four: beyond an odd end lies nothing, beyond an even
// end and before the first the last and the first again.
__device__ float tap(const float* from, int at, int size) {
  if (at >= size && size % 2 == 1) return 0.0F;
  return from[at < 0 ? 0 : at >= size ? size - 1 : at];
}

// Pixel `number` of D fine.
__device__ float halved(const float* fine, const Level& from, const Level& to, unsigned number) {
  constexpr float weights[4] = {0.125F, 0.375F, 0.375F, 0.125F};
  const auto width = static_cast<unsigned>(to.width);
  const int row = 2 * static_cast<int>(number / width) - 1;
  const int column = 2 * static_cast<int>(number % width) - 1;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int at = row + i;
    if (at >= from.height && from.height % 2 == 1) continue;
    const float* line = fine + (at < 0 ? 0 : at >= from.height ? from.height - 1 : at) * from.width;
    float along = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) along += weights[j] * tap(line, column + j, from.width);
    sum += weights[i] * along;
  }
  return sum;
}

// The sample of U that a fine one lies nearest to, and the next nearest, of `size` coarse ones.
__device__ int next_nearest(int fine, int size) {
  const int next = fine % 2 == 0 ? fine / 2 - 1 : fine / 2 + 1;
  return next < 0 ? 0 : next >= size ? size - 1 : next;
}

// Pixel `number` of U coarse.
__device__ float doubled(const float* coarse, const Level& from, const Level& to, unsigned number) {
  const auto width = static_cast<unsigned>(to.width);
  const auto i = static_cast<int>(number / width);
  const auto j = static_cast<int>(number % width);
  const float* near = coarse + i / 2 * from.width;
  const float* far = coarse + next_nearest(i, from.height) * from.width;
  const int next = next_nearest(j, from.width);
  const float at_near = 0.75F * near[j / 2] + 0.25F * far[j / 2];
  const float at_next = 0.75F * near[next] + 0.25F * far[next];
  return 0.75F * at_near + 0.25F * at_next;
}

// scale here + gain up: said which product is rounded, so that the bits are no compiler's choice.
__device__ float blended(float scale, float here, float gain, float up) { return fmaf(gain, up, scale * here); }

// Coarse = D fine; a thread for each coarse pixel.
__global__ void __launch_bounds__(kThreads)
    halve(const float* fine, float* coarse, std::int64_t planes, Level from, Level to) {
  const unsigned number = blockIdx.x * kThreads + threadIdx.x;
  if (number >= to.size()) return;
  for (std::int64_t plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    coarse[plane * to.size() + number] = halved(fine + plane * from.size(), from, to, number);
  }
}

// out = base + scale here + gain U coarse; a thread for each fine pixel. `coarse` and `base` may be null.
__global__ void __launch_bounds__(kThreads)
    add_doubled(const float* here, const float* base, const float* coarse, float* out, std::int64_t planes, Level fine,
                Level from, float gain) {
  const unsigned number = blockIdx.x * kThreads + threadIdx.x;
  if (number >= fine.size()) return;
  for (std::int64_t plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const std::int64_t at = plane * fine.size() + number;
    const float up = coarse == nullptr ? 0.0F : doubled(coarse + plane * from.size(), from, fine, number);
    const float sum = blended(fine.scale, here[at], gain, up);
    out[at] = base == nullptr ? sum : base[at] + sum;
  }
}

struct Coarse {
  int levels;
  Level level[kMostCoarse];  // from the finest on
  float gain;                // of the coarsest
};

// A block for each plane: the levels of `all` down and up. `here` is the finest, the others are in shared memory alone.
__global__ void __launch_bounds__(kMostThreads)
    take_coarse(const float* here, const float* base, float* out, Coarse all) {
  STYLOGRAM_SHARED(float, below);  // level after level
  const Level& finest = all.level[0];
  const std::int64_t plane = blockIdx.x * finest.size();
  for (unsigned i = threadIdx.x; i < all.level[1].size(); i += kMostThreads) {
    below[i] = halved(here + plane, finest, all.level[1], i);
  }
  float* last = below;
  for (int l = 2; l < all.levels; ++l) {
    __syncthreads();
    const Level& from = all.level[l - 1];
    const Level& to = all.level[l];
    float* made = last + from.size();
    for (unsigned i = threadIdx.x; i < to.size(); i += kMostThreads) made[i] = halved(last, from, to, i);
    last = made;
  }
  float gain = all.gain;
  for (int l = all.levels - 2; l >= 1; --l) {
    __syncthreads();
    const Level& from = all.level[l + 1];
    const Level& to = all.level[l];
    float* finer = last - to.size();
    for (unsigned i = threadIdx.x; i < to.size(); i += kMostThreads) {
      finer[i] = blended(to.scale, finer[i], gain, doubled(last, from, to, i));
    }
    last = finer;
    gain = 1;
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < finest.size(); i += kMostThreads) {
    const float sum = blended(finest.scale, here[plane + i], gain, doubled(below, all.level[1], finest, i));
    out[plane + i] = base == nullptr ? sum : base[plane + i] + sum;
  }
}

std::vector<Level> cut(std::int64_t height, std::int64_t width, std::int64_t levels, double growth) {
  std::vector<Level> made = {{static_cast<int>(height), static_cast<int>(width), 1.0F}};
  for (std::int64_t l = 1; l <= levels && height > 2 && width > 2; ++l) {
    height = (height + 1) / 2;
    width = (width + 1) / 2;
    const double scale = std::pow(growth, static_cast<double>(l)) * (1 - 1 / growth);
    check(scale <= std::numeric_limits<float>::max(), "pyramid", "growth^", l, " must be a float32, got growth ",
          growth);
    made.push_back({static_cast<int>(height), static_cast<int>(width), static_cast<float>(scale)});
  }
  return made;
}

std::size_t bytes(std::int64_t planes, const std::vector<Level>& levels) {
  std::int64_t floats = 0;
  for (std::size_t l = 1; l < levels.size(); ++l) floats += planes * levels[l].size();
  return static_cast<std::size_t>(floats) * sizeof(float);
}

class Pyramid final : public PyramidState {
 public:
  Pyramid(std::int64_t planes, std::vector<Level> levels)
      : planes_(planes), levels_(std::move(levels)), memory_("pyramid", bytes(planes, levels_)) {
    float* place = memory_.as<float>();
    for (std::size_t l = 1; l < levels_.size(); ++l) {
      data_.push_back(place);
      place += planes * levels_[l].size();
    }
    while (first_ < data_.size() && levels_[first_].size() > kCoarse) ++first_;
    for (std::size_t l = first_; l < levels_.size(); ++l) {
      coarse_.level[coarse_.levels++] = levels_[l];
      if (l > first_) below_ += static_cast<std::size_t>(levels_[l].size()) * sizeof(float);
    }
    coarse_.gain = levels_.back().scale;
  }

  std::int64_t levels() const override { return static_cast<std::int64_t>(data_.size()); }

  void apply(const float* in, const float* base, float* out, Stream stream) override {
    for (std::size_t l = 0; l < first_; ++l) {
      launch("pyramid", halve, blocks(levels_[l + 1]), kThreads, 0, stream, l == 0 ? in : data_[l - 1], data_[l],
             planes_, levels_[l], levels_[l + 1]);
    }
    if (first_ < data_.size()) {
      const bool all = first_ == 0;
      float* const place = all ? out : data_[first_ - 1];
      launch("pyramid", take_coarse, grid("pyramid", planes_, 1), kMostThreads, below_, stream, all ? in : place,
             all ? base : nullptr, place, coarse_);
      if (all) return;
    }
    for (std::size_t l = first_; l-- > 1;) double_to(l, data_[l - 1], nullptr, data_[l - 1], stream);
    double_to(0, in, base, out, stream);
  }

 private:
  dim3 blocks(const Level& level) const {
    return grid("pyramid", ceil_div(level.size(), kThreads), least(planes_, 65535));
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
  std::size_t first_ = 0;     // of the levels that are taken in one launch; the coarsest level is none by itself
  Coarse coarse_{};
  std::size_t below_ = 0;  // bytes of shared memory
};

PyramidState* make_pyramid(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels,
                           double growth) {
  check(planes >= 1 && height >= 1 && width >= 1 && levels >= 0 && growth > 1 && std::isfinite(growth), "pyramid",
        "sizes >= 1, levels >= 0 and a finite growth > 1 are accepted");
  check(width < kMostPixels && height < kMostPixels / width, "pyramid", "a plane has fewer than 2^31 pixels, got ",
        height, " x ", width);
  return new Pyramid(planes, cut(height, width, levels, growth));
}

const Registration here("make_pyramid", &make_pyramid);

}  // namespace
}  // namespace stylogram::cuda
