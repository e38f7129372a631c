#include "pool/max_gradient.h"

#include <algorithm>
#include <limits>

#include "simd.h"

namespace stylogram::pool {
namespace {

// Where a part of the work is, by value: see simd::run.
struct Channel {
  Windows windows;
  const float* x;
  const float* gy;
  float* gx;
  float* most;          // of a row of windows
  std::int32_t* place;  // of these in x; -1: none
};

STYLOGRAM_INLINE inline std::int64_t divided_up(std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }

// The maxima of one row of windows. `Stride` is that along x, 0 if it is another than those that are compiled.
template <std::int64_t Stride>
STYLOGRAM_INLINE inline void find(const Channel& c, std::int64_t out_y) {
  const Windows& w = c.windows;
  const std::int64_t stride = Stride == 0 ? w.strides.x : Stride;
  for (std::int64_t i = 0; i < w.out_width; ++i) {
    c.most[i] = -std::numeric_limits<float>::infinity();
    c.place[i] = -1;
  }
  const std::int64_t top = out_y * w.strides.y - w.before.y;
  const std::int64_t end = std::min(w.height, top + w.kernel.y);
  for (std::int64_t y = std::max<std::int64_t>(0, top); y < end; ++y) {
    for (std::int64_t kx = 0; kx < w.kernel.x; ++kx) {
      const std::int64_t left = kx - w.before.x;
      const std::int64_t first = divided_up(-left, stride);
      const std::int64_t count = std::min(w.out_width, divided_up(w.width - left, stride)) - first;
      const std::int64_t at = y * w.width + left + first * stride;
      const float* from = c.x + at;
      float* most = c.most + first;
      std::int32_t* place = c.place + first;
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) {
        const float value = from[i * stride];
        const bool larger = value > most[i];
        most[i] = larger ? value : most[i];
        place[i] = larger ? static_cast<std::int32_t>(at + i * stride) : place[i];
      }
    }
  }
}

template <std::int64_t Stride, bool Positive>
void gradient(const Channel& channel) {
  simd::run([channel]() STYLOGRAM_INLINE {
    const Windows& w = channel.windows;
    for (std::int64_t y = 0; y < w.out_height; ++y) {
      find<Stride>(channel, y);
      const float* gy = channel.gy + y * w.out_width;
      for (std::int64_t i = 0; i < w.out_width; ++i) {
        if (channel.place[i] >= 0) channel.gx[channel.place[i]] += !Positive || channel.most[i] > 0 ? gy[i] : 0.0F;
      }
    }
  });
}

template <std::int64_t Stride>
void gradient(const Channel& channel, bool positive) {
  positive ? gradient<Stride, true>(channel) : gradient<Stride, false>(channel);
}

}  // namespace

void max_gradient(const Windows& windows, bool positive, const float* x, const float* gy, float* gx, Row& row) {
  std::fill(gx, gx + windows.height * windows.width, 0.0F);
  const Channel channel = {windows, x, gy, gx, row.most.data(), row.place.data()};
  if (windows.strides.x == 1) return gradient<1>(channel, positive);
  if (windows.strides.x == 2) return gradient<2>(channel, positive);
  gradient<0>(channel, positive);
}

}  // namespace stylogram::pool
