#include "cuda/narrow.h"
#include "cuda/plan.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "pool/max.h"

namespace stylogram::cuda {
namespace {

using pool::MaxPool;
using pool::Windows;

// Rows or columns of x that a window sees, or windows that see one.
struct Range {
  std::int64_t begin, end;
};

__device__ Range seen(std::int64_t window, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                      std::int64_t size) {
  const std::int64_t begin = window * stride - before;
  return {most(0, begin), least(size, begin + kernel)};
}
__device__ Range rows_seen(const Windows& w, std::int64_t window) {
  return seen(window, w.kernel.y, w.strides.y, w.before.y, w.height);
}
__device__ Range columns_seen(const Windows& w, std::int64_t window) {
  return seen(window, w.kernel.x, w.strides.x, w.before.x, w.width);
}

__device__ Range seeing(std::int64_t place, std::int64_t kernel, std::int64_t stride, std::int64_t before,
                        std::int64_t windows) {
  const std::int64_t at = place + before;
  return {at < kernel ? 0 : (at - kernel) / stride + 1, least(windows, at / stride + 1)};
}
__device__ Range rows_seeing(const Windows& w, std::int64_t y) {
  return seeing(y, w.kernel.y, w.strides.y, w.before.y, w.out_height);
}
__device__ Range columns_seeing(const Windows& w, std::int64_t x) {
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

template <class T>
__global__ void __launch_bounds__(kThreads) pool_kernel(MaxPool p) {
  const Windows& w = p.windows;
  const std::int64_t size = w.out_height * w.out_width * p.channels;
  const T* x = static_cast<const T*>(p.x) + blockIdx.y * (w.height * w.width * p.channels);
  T* y = static_cast<T*>(p.made) + blockIdx.y * size;
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
  for (std::int64_t at = cut.begin(blockIdx.x) + threadIdx.x; at < end; at += kThreads) {
    const Place place(at, w.out_width, p.channels);
    const Range rows = rows_seen(w, place.y);
    const Range columns = columns_seen(w, place.x);
    float highest = -INFINITY;
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      for (std::int64_t j = columns.begin; j < columns.end; ++j) {
        const float value = widened(x[(i * w.width + j) * p.channels + place.channel]);
        if (value > highest || value != value) highest = value;
      }
    }
    y[at] = narrowed<T>(highest);
  }
}

// Whether `value`, at a place of the window, is its first maximum.
template <class T>
__device__ bool is_first(const MaxPool& p, const T* x, const Place& place, float value, Range rows, Range columns) {
  for (std::int64_t i = rows.begin; i < rows.end; ++i) {
    for (std::int64_t j = columns.begin; j < columns.end; ++j) {
      const float other = widened(x[(i * p.windows.width + j) * p.channels + place.channel]);
      const bool before = i < place.y || (i == place.y && j < place.x);
      if (before ? other >= value : other > value) return false;
    }
  }
  return true;
}

template <class T>
__global__ void __launch_bounds__(kThreads) gradient_kernel(MaxPool p) {
  const Windows& w = p.windows;
  const std::int64_t size = w.height * w.width * p.channels;
  const T* x = static_cast<const T*>(p.x) + blockIdx.y * size;
  const T* gy = static_cast<const T*>(p.gy) + blockIdx.y * (w.out_height * w.out_width * p.channels);
  T* gx = static_cast<T*>(p.made) + blockIdx.y * size;
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
  for (std::int64_t at = cut.begin(blockIdx.x) + threadIdx.x; at < end; at += kThreads) {
    const float value = widened(x[at]);
    float sum = 0;
    if (value > (p.positive ? 0.0F : -INFINITY)) {
      const Place place(at, w.width, p.channels);
      const Range rows = rows_seeing(w, place.y);
      const Range columns = columns_seeing(w, place.x);
      for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        for (std::int64_t j = columns.begin; j < columns.end; ++j) {
          if (!is_first(p, x, place, value, rows_seen(w, i), columns_seen(w, j))) continue;
          sum += widened(gy[(i * w.out_width + j) * p.channels + place.channel]);
        }
      }
    }
    gx[at] = narrowed<T>(sum);
  }
}

using Kernel = void (*)(MaxPool);

void run(const char* op, const MaxPool& p, std::int64_t places, Kernel float32, Kernel float16, Kernel bfloat16,
         Stream stream) {
  const std::int64_t size = places * p.channels;
  const std::int64_t largest = most(size, p.windows.height * p.windows.width * p.channels);
  check(largest < (std::int64_t{1} << 32), op, "a picture has at most 2^32 - 1 numbers here, got ", largest);
  if (size == 0 || p.planes == 0) return;
  const Kernel kernel = p.number == Number::float32 ? float32 : p.number == Number::float16 ? float16 : bfloat16;
  launch(op, kernel, grid(op, streaming(size).count, p.planes), kThreads, 0, stream, p);
}

void max_pool(const MaxPool& p, Stream stream) {
  run("max_pool", p, p.windows.out_height * p.windows.out_width, pool_kernel<float>, pool_kernel<Float16>,
      pool_kernel<BFloat16>, stream);
}

void max_pool_gradient(const MaxPool& p, Stream stream) {
  run("max_pool_gradient", p, p.windows.height * p.windows.width, gradient_kernel<float>, gradient_kernel<Float16>,
      gradient_kernel<BFloat16>, stream);
}

const Registration first("max_pool", &max_pool);
const Registration second("max_pool_gradient", &max_pool_gradient);

}  // namespace
}  // namespace stylogram::cuda
