// Which places a window sees, and which windows see a place: for kernels that have a thread for each number they make.
#pragma once

#include "cuda/narrow.h"
#include "cuda/plan.h"
#include "cuda/runtime.h"
#include "pool/windows.h"

namespace stylogram::cuda {

using pool::Windows;

// Rows or columns of x that a window sees, or windows that see one.
struct Range {
  std::int64_t begin, end;
};

__device__ inline Range seen(std::int64_t window, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                             std::int64_t size) {
  const std::int64_t begin = window * stride - before;
  return {most(0, begin), least(size, begin + kernel)};
}
__device__ inline Range rows_seen(const Windows& w, std::int64_t window) {
  return seen(window, w.kernel.y, w.strides.y, w.before.y, w.height);
}
__device__ inline Range columns_seen(const Windows& w, std::int64_t window) {
  return seen(window, w.kernel.x, w.strides.x, w.before.x, w.width);
}

__device__ inline Range seeing(std::int64_t place, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                               std::int64_t windows) {
  const std::int64_t at = place + before;
  return {at < kernel ? 0 : (at - kernel) / stride + 1, least(windows, at / stride + 1)};
}
__device__ inline Range rows_seeing(const Windows& w, std::int64_t y) {
  return seeing(y, w.kernel.y, w.strides.y, w.before.y, w.out_height);
}
__device__ inline Range columns_seeing(const Windows& w, std::int64_t x) {
  return seeing(x, w.kernel.x, w.strides.x, w.before.x, w.out_width);
}

// Where number `at` of a plane of rows of `width` places is.
struct Place {
  std::int64_t y, x, channel;
  __device__ Place(std::int64_t at, std::int64_t width, std::int64_t channels) {
    const auto place = static_cast<unsigned>(at) / static_cast<unsigned>(channels);
    channel = static_cast<unsigned>(at) % static_cast<unsigned>(channels);
    y = place / static_cast<unsigned>(width);
    x = place % static_cast<unsigned>(width);
  }
};

/// Launches the kernel of p's type, for every number of the pool, or of its input.
template <class Given>
void launch_pool(const char* op, const Given& p, bool gradient, void (*const (&kernels)[3])(Given), Stream stream) {
  const Windows& w = p.windows;
  const std::int64_t input = w.height * w.width * p.channels;
  const std::int64_t output = w.out_height * w.out_width * p.channels;
  check(most(input, output) < (std::int64_t{1} << 32), op, "a picture has at most 2^32 - 1 numbers here, got ",
        most(input, output));
  const std::int64_t size = gradient ? input : output;
  if (size == 0 || p.planes == 0) return;
  const auto kernel = kernels[static_cast<int>(p.number)];
  // Planes are the grid's x, of which there may be 2^31 - 1: with channels first there are as many as all pictures have
  // channels. Its y has 65535, and a plane's blocks are 2048 at most. A small plane needs no whole block.
  const dim3 blocks = grid(op, p.planes, streaming(size).count);
  const auto threads = static_cast<unsigned>(least(kThreads, ceil_div(size, 32) * 32));
  launch(op, kernel, blocks, threads, 0, stream, p);
}

}  // namespace stylogram::cuda
