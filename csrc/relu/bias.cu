#include "cuda/narrow.h"
#include "cuda/pack.h"
#include "cuda/plan.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "relu/bias.h"

namespace stylogram::cuda {
namespace {

using relu::Bias;

template <class T>
__device__ T biased(T x, T bias, bool rectify) {
  const float sum = widened(x) + widened(bias);
  return narrowed<T>(rectify && sum <= 0 ? 0.0F : sum);
}

// A thread's packs have one channel, or with channels last as many as they have numbers.
template <class T, bool Last>
__global__ void __launch_bounds__(kThreads) packed_kernel(Bias b) {
  constexpr std::int64_t kCount = Pack<T>::kCount;
  const std::int64_t packs = b.n * b.channels * b.places / kCount;
  const std::int64_t across = (Last ? b.channels : b.places) / kCount;  // packs before the next row
  const auto* x = static_cast<const Pack<T>*>(b.x);
  const auto* bias = static_cast<const T*>(b.bias);
  auto* y = static_cast<Pack<T>*>(b.y);
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < packs; at += step) {
    const Pack<T> from = x[at];
    const std::int64_t channel = Last ? at % across * kCount : at / across % b.channels;
    Pack<T> to;
    for (int i = 0; i < kCount; ++i) {
      to.values[i] = biased(from.values[i], bias[channel + (Last ? i : 0)], b.rectify);
    }
    y[at] = to;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) plain_kernel(Bias b) {
  const std::int64_t size = b.n * b.channels * b.places;
  const auto* x = static_cast<const T*>(b.x);
  const auto* bias = static_cast<const T*>(b.bias);
  auto* y = static_cast<T*>(b.y);
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < size; at += step) {
    y[at] = biased(x[at], bias[b.last ? at % b.channels : at / b.places % b.channels], b.rectify);
  }
}

template <class T>
void run(const Bias& b, Stream stream) {
  const char* op = "bias_relu";
  const bool whole = (b.last ? b.channels : b.places) % Pack<T>::kCount == 0;
  const bool packed = whole && aligned(static_cast<const T*>(b.x), static_cast<const T*>(b.y));
  const auto kernel = !packed ? plain_kernel<T> : b.last ? packed_kernel<T, true> : packed_kernel<T, false>;
  launch(op, kernel, grid(op, streaming(b.n * b.channels * b.places).count, 1), kThreads, 0, stream, b);
}

void bias_relu(const Bias& b, Stream stream) {
  if (b.n * b.channels * b.places == 0) return;
  if (b.number == Number::float32) return run<float>(b, stream);
  if (b.number == Number::float16) return run<Float16>(b, stream);
  run<BFloat16>(b, stream);
}

const Registration here("bias_relu", &bias_relu);

}  // namespace
}  // namespace stylogram::cuda
