#include "cuda/registry.h"
#include "pool/average.h"
#include "pool/fours.h"
#include "pool/places.h"

namespace stylogram::cuda {
namespace {

using pool::AveragePool;

// Of a pool, over the places that a window sees; of its gradient, over the windows that see a place.
template <class T, bool Gradient>
__global__ void __launch_bounds__(kThreads) average_kernel(AveragePool p) {
  const Windows& w = p.windows;
  const std::int64_t plane = blockIdx.x;
  const std::int64_t height = Gradient ? w.out_height : w.height;
  const std::int64_t width = Gradient ? w.out_width : w.width;
  const std::int64_t across = Gradient ? w.width : w.out_width;
  const std::int64_t size = (Gradient ? w.height : w.out_height) * across * p.channels;
  const T* given = static_cast<const T*>(p.given) + plane * (height * width * p.channels);
  T* made = static_cast<T*>(p.made) + plane * size;
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.y);
  for (std::int64_t at = cut.begin(blockIdx.y) + threadIdx.x; at < end; at += kThreads) {
    const Place place(at, across, p.channels);
    const Range rows = Gradient ? rows_seeing(w, place.y) : rows_seen(w, place.y);
    const Range columns = Gradient ? columns_seeing(w, place.x) : columns_seen(w, place.x);
    float sum = 0;
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      for (std::int64_t j = columns.begin; j < columns.end; ++j) {
        sum += widened(given[(i * width + j) * p.channels + place.channel]);
      }
    }
    made[at] = narrowed<T>(p.scale * sum);
  }
}

// The same for windows of 2x2, side by side.
struct Mean {
  static constexpr bool kGradient = false;

  template <class T, Form F>
  __device__ static void run(const AveragePool& p, const Cell<T, F>& cell) {
    const auto x = cell.input(p.given);
    typename Cell<T, F>::Values y;
#pragma unroll
    for (int i = 0; i < cell.kCount; ++i) {
      float sum = 0;
#pragma unroll
      for (int k = 0; k < 4; ++k) sum += widened(x.places[k].values[i]);
      y.values[i] = narrowed<T>(p.scale * sum);
    }
    cell.set_output(p.made, y);
  }
};

struct Spread {
  static constexpr bool kGradient = true;

  template <class T, Form F>
  __device__ static void run(const AveragePool& p, const Cell<T, F>& cell) {
    typename Cell<T, F>::Values gy = {};
    if (cell.whole()) gy = cell.output(p.given);
    Fours<T, Cell<T, F>::kCount> gx;
#pragma unroll
    for (int i = 0; i < cell.kCount; ++i) {
      const T value = narrowed<T>(p.scale * (0.0F + widened(gy.values[i])));
#pragma unroll
      for (int k = 0; k < 4; ++k) gx.places[k].values[i] = value;
    }
    cell.set_input(p.made, gx);
  }
};

void average_pool(const AveragePool& p, Stream stream) {
  if (launch_fours<Mean>("average_pool", p, aligned(p.given, p.made), stream)) return;
  launch_pool("average_pool", p, false,
              {average_kernel<float, false>, average_kernel<Float16, false>, average_kernel<BFloat16, false>}, stream);
}

void average_pool_gradient(const AveragePool& p, Stream stream) {
  if (launch_fours<Spread>("average_pool_gradient", p, aligned(p.given, p.made), stream)) return;
  launch_pool("average_pool_gradient", p, true,
              {average_kernel<float, true>, average_kernel<Float16, true>, average_kernel<BFloat16, true>}, stream);
}

const Registration first("average_pool", &average_pool);
const Registration second("average_pool_gradient", &average_pool_gradient);

}  // namespace
}  // namespace stylogram::cuda
