#include "cuda/narrow.h"
#include "cuda/pack.h"
#include "cuda/plan.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "relu/gradient.h"

namespace stylogram::cuda {
namespace {

using relu::Gradient;

template <class T>
__device__ T masked(T y, T gy, T more) {
  return narrowed<T>(widened(y) > 0 ? widened(gy) + widened(more) : 0.0F);
}

// `Packed`: all addresses are multiples of 16.
template <class T, bool Packed>
__global__ void __launch_bounds__(kThreads) relu_kernel(Gradient g) {
  const auto* y = static_cast<const T*>(g.y);
  const auto* gy = static_cast<const T*>(g.gy);
  const auto* more = static_cast<const T*>(g.more);
  auto* gx = static_cast<T*>(g.gx);
  const T nothing = narrowed<T>(0.0F);
  constexpr std::int64_t kCount = Packed ? Pack<T>::kCount : 1;
  const std::int64_t packs = g.size / kCount;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (Packed) {
    for (std::int64_t at = first; at < packs; at += step) {
      const Pack<T> a = reinterpret_cast<const Pack<T>*>(y)[at];
      const Pack<T> b = reinterpret_cast<const Pack<T>*>(gy)[at];
      const Pack<T> c = more == nullptr ? Pack<T>{} : reinterpret_cast<const Pack<T>*>(more)[at];
      Pack<T> made;
      for (int i = 0; i < Pack<T>::kCount; ++i) made.values[i] = masked(a.values[i], b.values[i], c.values[i]);
      reinterpret_cast<Pack<T>*>(gx)[at] = made;
    }
  }
  for (std::int64_t at = (Packed ? packs * kCount : 0) + first; at < g.size; at += step) {
    gx[at] = masked(y[at], gy[at], more == nullptr ? nothing : more[at]);
  }
}

template <class T>
void run(const Gradient& g, Stream stream) {
  const auto* y = static_cast<const T*>(g.y);
  const bool packed = aligned(y, static_cast<const T*>(g.gy), static_cast<const T*>(g.more), static_cast<T*>(g.gx));
  launch("relu_gradient", packed ? relu_kernel<T, true> : relu_kernel<T, false>,
         grid("relu_gradient", streaming(g.size).count, 1), kThreads, 0, stream, g);
}

void relu_gradient(const Gradient& g, Stream stream) {
  if (g.size == 0) return;
  if (g.number == Number::float32) return run<float>(g, stream);
  if (g.number == Number::float16) return run<Float16>(g, stream);
  run<BFloat16>(g, stream);
}

const Registration here("relu_gradient", &relu_gradient);

}  // namespace
}  // namespace stylogram::cuda
