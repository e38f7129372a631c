#include "cuda/registry.h"
#include "pool/fours.h"
#include "pool/max.h"
#include "pool/places.h"

namespace stylogram::cuda {
namespace {

using pool::MaxPool;

// Of a window's highest so far and its next.
__device__ float higher(float highest, float value) { return value > highest || value != value ? value : highest; }

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
        highest = higher(highest, widened(x[(i * w.width + j) * p.channels + place.channel]));
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

// The same for windows of 2x2, side by side.
struct Highest {
  static constexpr bool kGradient = false;

  template <class T, Form F>
  __device__ static void run(const MaxPool& p, const Cell<T, F>& cell) {
    const auto x = cell.input(p.x);
    typename Cell<T, F>::Values y;
#pragma unroll
    for (int i = 0; i < cell.kCount; ++i) {
      float highest = widened(x.places[0].values[i]);
#pragma unroll
      for (int k = 1; k < 4; ++k) highest = higher(highest, widened(x.places[k].values[i]));
      y.values[i] = narrowed<T>(highest);
    }
    cell.set_output(p.made, y);
  }
};

struct ToHighest {
  static constexpr bool kGradient = true;

  template <class T, Form F>
  __device__ static void run(const MaxPool& p, const Cell<T, F>& cell) {
    Fours<T, Cell<T, F>::kCount> gx = {};
    if (cell.whole()) {
      const auto x = cell.input(p.x);
      const auto gy = cell.output(p.gy);
#pragma unroll
      for (int i = 0; i < cell.kCount; ++i) {
        const T value = narrowed<T>(0.0F + widened(gy.values[i]));
        float highest = -INFINITY;
#pragma unroll
        for (int k = 0; k < 4; ++k) highest = fmaxf(highest, widened(x.places[k].values[i]));  // not a NaN
        bool found = !(highest > (p.positive ? 0.0F : -INFINITY));
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const bool here = !found && widened(x.places[k].values[i]) == highest;
          gx.places[k].values[i] = here ? value : T{};
          found = found || here;
        }
      }
    }
    cell.set_input(p.made, gx);
  }
};

void max_pool(const MaxPool& p, Stream stream) {
  if (launch_fours<Highest>("max_pool", p, aligned(p.x, p.made), stream)) return;
  launch_pool("max_pool", p, false, {pool_kernel<float>, pool_kernel<Float16>, pool_kernel<BFloat16>}, stream);
}

void max_pool_gradient(const MaxPool& p, Stream stream) {
  if (launch_fours<ToHighest>("max_pool_gradient", p, aligned(p.x, p.gy, p.made), stream)) return;
  launch_pool("max_pool_gradient", p, true,
              {gradient_kernel<float>, gradient_kernel<Float16>, gradient_kernel<BFloat16>}, stream);
}

const Registration first("max_pool", &max_pool);
const Registration second("max_pool_gradient", &max_pool_gradient);

}  // namespace
}  // namespace stylogram::cuda
