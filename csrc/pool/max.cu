#include "cuda/registry.h"
#include "pool/max.h"
#include "pool/places.h"

namespace stylogram::cuda {
namespace {

using pool::MaxPool;

template <class T>
__global__ void __launch_bounds__(kThreads) pool_kernel(MaxPool p) {
  const Windows& w = p.windows;
  const std::int64_t plane = blockIdx.x;
  const std::int64_t size = w.out_height * w.out_width * p.channels;
  const T* x = static_cast<const T*>(p.x) + plane * (w.height * w.width * p.channels);
  T* y = static_cast<T*>(p.made) + plane * size;
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.y);
  for (std::int64_t at = cut.begin(blockIdx.y) + threadIdx.x; at < end; at += kThreads) {
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
  const std::int64_t plane = blockIdx.x;
  const std::int64_t size = w.height * w.width * p.channels;
  const T* x = static_cast<const T*>(p.x) + plane * size;
  const T* gy = static_cast<const T*>(p.gy) + plane * (w.out_height * w.out_width * p.channels);
  T* gx = static_cast<T*>(p.made) + plane * size;
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.y);
  for (std::int64_t at = cut.begin(blockIdx.y) + threadIdx.x; at < end; at += kThreads) {
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

void max_pool(const MaxPool& p, Stream stream) {
  launch_pool("max_pool", p, false, {pool_kernel<float>, pool_kernel<Float16>, pool_kernel<BFloat16>}, stream);
}

void max_pool_gradient(const MaxPool& p, Stream stream) {
  launch_pool("max_pool_gradient", p, true,
              {gradient_kernel<float>, gradient_kernel<Float16>, gradient_kernel<BFloat16>}, stream);
}

const Registration first("max_pool", &max_pool);
const Registration second("max_pool_gradient", &max_pool_gradient);

}  // namespace
}  // namespace stylogram::cuda
