#include "cuda/narrow.h"
#include "cuda/plan.h"
#include "cuda/product.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "ops/feature.h"

namespace stylogram::cuda {
namespace {

using Loss = ops::FeatureLoss;

// As many numbers as are read or written at once.
template <class T, int Width>
struct alignas(Width * sizeof(T)) Some {
  T v[Width];
};

// `Width` numbers at a time, 4 or 1; features are of type T.
template <class T, int Width>
__device__ double at(const Loss& loss, std::int64_t n, std::int64_t i, float factor) {
  using U = Slope<T>;
  double sum = 0;
  const std::int64_t place = n * loss.m + i;
  const auto f = *reinterpret_cast<const Some<T, Width>*>(static_cast<const T*>(loss.features) + place);
  const auto p = *reinterpret_cast<const Some<float, Width>*>(loss.target + place);
  auto* gradient = reinterpret_cast<Some<U, Width>*>(static_cast<U*>(loss.gradient) + place);
  Some<U, Width> g = {};
  if (loss.accumulate) g = *gradient;
#pragma unroll
  for (int k = 0; k < Width; ++k) {
    const float delta = loss.form.unit * widened(f.v[k]) - p.v[k];
    float weighted = delta;
    if (loss.weight != nullptr) {
      const std::int64_t channels = loss.m / loss.positions;
      weighted *= loss.weight[loss.form.channels_last ? (i + k) / channels : (i + k) % loss.positions];
    }
    sum += static_cast<double>(weighted) * static_cast<double>(delta);
    g.v[k] = narrowed<U>(factor * weighted + (loss.accumulate ? widened(g.v[k]) : 0.0F));
  }
  *gradient = g;
  return sum;
}

template <class T, int Width>
__global__ void __launch_bounds__(kThreads) feature_kernel(Loss loss, double* partials, unsigned* counters) {
  const Cut cut = streaming(loss.m);
  const std::int64_t n = blockIdx.y;
  const auto factor = static_cast<float>(2 * loss.scale[n]);
  const std::int64_t end = cut.end(blockIdx.x);
  double sum = 0;
  for (std::int64_t i = cut.begin(blockIdx.x) + Width * threadIdx.x; i < end; i += Width * kThreads) {
    sum += at<T, Width>(loss, n, i, factor);
  }
  double total = 0;
  if (sum_over_blocks<kThreads>(sum, partials, counters, &total) && threadIdx.x == 0) {
    loss.value[n] += loss.scale[n] * total;
  }
}

template <class T>
void run(const char* op, const Loss& loss, Stream stream) {
  const Cut cut = streaming(loss.m);
  const Workspace work =
      workspace(op, stream, static_cast<std::size_t>(loss.n * cut.count), static_cast<std::size_t>(loss.n));
  const bool wide = loss.m % 4 == 0 && aligned(loss.features, loss.target, loss.gradient);
  launch(op, wide ? feature_kernel<T, 4> : feature_kernel<T, 1>, grid(op, cut.count, loss.n), kThreads, 0, stream, loss,
         work.doubles, work.counters);
}

void feature_loss(const Loss& loss, Stream stream) {
  const char* op = "feature_loss";
  switch (loss.form.number) {
    case Number::float32:
      return run<float>(op, loss, stream);
    case Number::float16:
      return run<Float16>(op, loss, stream);
    case Number::bfloat16:
      return run<BFloat16>(op, loss, stream);
  }
}

const Registration here("feature_loss", &feature_loss);

}  // namespace
}  // namespace stylogram::cuda
