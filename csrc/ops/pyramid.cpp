#include "ops/pyramid.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "simd.h"
#include "slices.h"

namespace stylogram::ops {
namespace {

constexpr std::int64_t kLine = 16;      // floats of a cache line
constexpr std::int64_t kWhole = 65536;  // a level of no more pixels is not cut: waking threads costs more
constexpr std::int64_t kBand = 32768;   // pixels of a band
constexpr std::int64_t kBands = 16;     // of a plane, at most
constexpr std::int64_t kLongest = std::int64_t{1} << 40;  // pixels of all planes

std::int64_t padded(std::int64_t width) { return (width + kLine - 1) / kLine * kLine; }

// Four rows of a level that a row of the next one is made of, from top to bottom.
struct Four {
  const float *above, *upper, *lower, *below;
};

// One row of D: the rows are blended, then the columns. `blend` has room for two numbers more, and for one before it.
// The first column is repeated, as U's clamped indices are; so is the last of an even number. An odd number ends half
// way through the last coarse pixel, and what is beyond is nothing.
void halve_row(const Four& rows, std::int64_t width, float* blend, float* coarse) {
  simd::run([=]() STYLOGRAM_INLINE {
    constexpr float near = 0.375F;
    constexpr float far = 0.125F;
    const Four r = rows;
    float* b = blend;
    float* out = coarse;
    const std::int64_t n = width;
    const std::int64_t m = (n + 1) / 2;
#pragma omp simd
    for (std::int64_t j = 0; j < n; ++j) b[j] = near * (r.upper[j] + r.lower[j]) + far * (r.above[j] + r.below[j]);
    b[-1] = b[0];
    b[n] = n % 2 == 0 ? b[n - 1] : 0.0F;
    b[n + 1] = 0.0F;
#pragma omp simd
    for (std::int64_t k = 0; k < m; ++k) {
      out[k] = near * (b[2 * k] + b[2 * k + 1]) + far * (b[2 * k - 1] + b[2 * k + 2]);
    }
  });
}

// One row of scale here + gain U (coarse rows), and with Add of base besides. `out` may be `here` or `base`.
struct Doubled {
  const float *near, *far;  // the coarse row that the fine one lies in, and the next nearest
  float gain;
  const float* here;
  float scale;
  const float* base;
  float* out;
  std::int64_t width;
};

template <bool Add>
void double_row(const Doubled& row, float* blend) {
  simd::run([=]() STYLOGRAM_INLINE {
    const Doubled r = row;
    float* b = blend;
    const std::int64_t m = (r.width + 1) / 2;
    const float near = 0.75F * r.gain;
    const float far = 0.25F * r.gain;
#pragma omp simd
    for (std::int64_t k = 0; k < m; ++k) b[k] = near * r.near[k] + far * r.far[k];
    b[-1] = b[0];
    b[m] = b[m - 1];
    const auto put = [=](std::int64_t j, float up) STYLOGRAM_INLINE {
      const float sum = r.scale * r.here[j] + up;
      if constexpr (Add) {
        r.out[j] = r.base[j] + sum;
      } else {
        r.out[j] = sum;
      }
    };
#pragma omp simd
    for (std::int64_t k = 0; k < r.width / 2; ++k) {
      put(2 * k, 0.75F * b[k] + 0.25F * b[k - 1]);
      put(2 * k + 1, 0.75F * b[k] + 0.25F * b[k + 1]);
    }
    if (r.width % 2 == 1) put(r.width - 1, 0.75F * b[m - 1] + 0.25F * b[m - 2]);
  });
}

float* blended_row(std::int64_t width) {
  thread_local Scratch<float> scratch;
  return scratch.get(static_cast<std::size_t>(kLine + padded(width + 2))) + kLine;
}

Slices bands(std::int64_t rows, std::int64_t pixels) {
  return Slices(rows, std::max<std::int64_t>(1, kBand * rows / pixels), kBands, 1);
}

}  // namespace

std::vector<Pyramid::Level> Pyramid::cut(std::int64_t planes, std::int64_t height, std::int64_t width,
                                         std::int64_t levels, double growth) {
  const char* op = "pyramid";
  check(planes >= 1 && height >= 1 && width >= 1, op, "planes, height and width must be >= 1, got ", planes, ", ",
        height, ", ", width);
  check(planes <= kLongest / height / width, op, "planes x height x width must be <= ", kLongest, ", got ", planes,
        " x ", height, " x ", width);
  check(levels >= 0, op, "levels must be >= 0, got ", levels);
  check(growth > 1 && std::isfinite(growth), op, "growth must be finite and > 1, got ", growth);
  std::vector<Level> made = {{height, width, width, 1.0F}};
  for (std::int64_t l = 1; l <= levels && height > 2 && width > 2; ++l) {
    height = (height + 1) / 2;
    width = (width + 1) / 2;
    const double scale = std::pow(growth, static_cast<double>(l)) * (1 - 1 / growth);
    check(scale <= std::numeric_limits<float>::max(), op, "growth^", l, " must be a float32, got growth ", growth);
    made.push_back({height, width, padded(width), static_cast<float>(scale)});
  }
  return made;
}

// Of a row of zeros, and of all levels but the caller's.
std::size_t Pyramid::bytes(std::int64_t planes, const std::vector<Level>& levels) {
  std::int64_t floats = padded(levels.front().width);
  for (std::size_t l = 1; l < levels.size(); ++l) floats += planes * levels[l].height * levels[l].stride;
  return static_cast<std::size_t>(floats) * sizeof(float);
}

Pyramid::Pyramid(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels, double growth)
    : planes_(planes),
      levels_(cut(planes, height, width, levels, growth)),
      memory_(bytes(planes, levels_)),
      zeros_(memory_.floats()) {
  float* place = memory_.floats() + padded(width);
  for (std::size_t l = 1; l < levels_.size(); ++l) {
    levels_[l].data = place;
    place += planes_ * levels_[l].height * levels_[l].stride;
  }
  while (banded_ < this->levels() && level(banded_).height * level(banded_).width > kWhole) ++banded_;
}

void Pyramid::apply(const float* in, float* out, Stream stream) {
  require_cpu("pyramid", stream);
  check_overlap(in, "v", out);
  run({in, nullptr, out});
}

void Pyramid::apply_add(const float* in, const float* base, float* out, Stream stream) {
  require_cpu("pyramid", stream);
  check_overlap(in, "v", out);
  check_overlap(base, "base", out);
  run({in, base, out});
}

// Rows are read before they are written in the same place alone.
void Pyramid::check_overlap(const float* other, const char* name, const float* out) const {
  const auto a = reinterpret_cast<std::uintptr_t>(other);
  const auto b = reinterpret_cast<std::uintptr_t>(out);
  const auto bytes = static_cast<std::uintptr_t>(planes_ * height() * width()) * sizeof(float);
  check(a == b || a + bytes <= b || b + bytes <= a, "pyramid", "out must be ", name,
        " or apart from it, got an overlap");
}

// Large levels are cut into bands, one level after the other; the small ones of a plane are one part, down and up.
void Pyramid::run(const Call& call) {
  for (std::int64_t l = 0; l < banded_; ++l) {
    const std::int64_t rows = level(l + 1).height;
    const Slices cut = bands(rows, level(l).height * level(l).width);
    parallel_for(planes_ * cut.count, [&](std::int64_t part) {
      down(l, part / cut.count, cut.begin(part % cut.count), cut.end(part % cut.count), call);
    });
  }
  parallel_for(planes_, [&](std::int64_t plane) {
    for (std::int64_t l = banded_; l < levels(); ++l) down(l, plane, 0, level(l + 1).height, call);
    for (std::int64_t l = levels() - 1; l >= banded_; --l) up(l, plane, 0, level(l).height, call);
    if (levels() == 0) up(0, plane, 0, height(), call);
  });
  for (std::int64_t l = banded_ - 1; l >= 0; --l) {
    const Slices cut = bands(level(l).height, level(l).height * level(l).width);
    parallel_for(planes_ * cut.count, [&](std::int64_t part) {
      up(l, part / cut.count, cut.begin(part % cut.count), cut.end(part % cut.count), call);
    });
  }
}

// Rows [begin, end) of d_{l+1}.
void Pyramid::down(std::int64_t l, std::int64_t plane, std::int64_t begin, std::int64_t end, const Call& call) const {
  const Level& fine = level(l);
  const Level& coarse = level(l + 1);
  const float* from = (l == 0 ? call.in : fine.data) + plane * fine.height * fine.stride;
  float* to = coarse.data + plane * coarse.height * coarse.stride;
  float* blend = blended_row(fine.width);
  // As the columns in halve_row.
  const auto row = [&](std::int64_t i) {
    if (i >= fine.height && fine.height % 2 == 1) return zeros_;
    return from + std::clamp<std::int64_t>(i, 0, fine.height - 1) * fine.stride;
  };
  for (std::int64_t k = begin; k < end; ++k) {
    const Four rows{row(2 * k - 1), row(2 * k), row(2 * k + 1), row(2 * k + 2)};
    halve_row(rows, fine.width, blend, to + k * coarse.stride);
  }
}

// Rows [begin, end) of u_l. The coarsest level is still d_L, and without one the coarser picture is zero.
void Pyramid::up(std::int64_t l, std::int64_t plane, std::int64_t begin, std::int64_t end, const Call& call) const {
  const Level& fine = level(l);
  const bool alone = l == levels();
  const Level& coarse = level(alone ? l : l + 1);
  const float* from = alone ? zeros_ : coarse.data + plane * coarse.height * coarse.stride;
  const std::int64_t stride = alone ? 0 : coarse.stride;
  const float gain = l + 1 == levels() ? coarse.scale : 1.0F;
  const float* in = l == 0 ? call.in : fine.data;
  float* out = l == 0 ? call.out : fine.data;
  float* blend = blended_row(fine.width);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t k = i / 2;
    const std::int64_t next = std::clamp<std::int64_t>(i % 2 == 0 ? k - 1 : k + 1, 0, coarse.height - 1);
    const std::int64_t at = (plane * fine.height + i) * fine.stride;
    Doubled row{from + k * stride, from + next * stride, gain, in + at, fine.scale, nullptr, out + at, fine.width};
    if (l == 0 && call.base != nullptr) {
      row.base = call.base + at;
      double_row<true>(row, blend);
    } else {
      double_row<false>(row, blend);
    }
  }
}

}  // namespace stylogram::ops
