#include "cuda/registry.h"
#include "pool/average.h"
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

void average_pool(const AveragePool& p, Stream stream) {
  launch_pool("average_pool", p, false,
              {average_kernel<float, false>, average_kernel<Float16, false>, average_kernel<BFloat16, false>}, stream);
}

void average_pool_gradient(const AveragePool& p, Stream stream) {
  launch_pool("average_pool_gradient", p, true,
              {average_kernel<float, true>, average_kernel<Float16, true>, average_kernel<BFloat16, true>}, stream);
}

const Registration first("average_pool", &average_pool);
const Registration second("average_pool_gradient", &average_pool_gradient);

}  // namespace
}  // namespace stylogram::cuda
