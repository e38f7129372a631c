#include <cmath>

#include "cuda/plan.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "cuda/states.h"
#include "ops/adam.h"

namespace stylogram::cuda {
namespace {

struct Scalars {
  std::int64_t steps;
  float rate, root;  // of this step: rate / (1 - b1^t), 1 / sqrt(1 - b2^t)
};

__global__ void count_step(Scalars* scalars, ops::Adam::Options options, Decay decay) {
  const auto before = static_cast<double>(scalars->steps);
  const double t = before + 1;
  const double rate = options.learning_rate * pow(decay.factor, before / decay.every);
  scalars->steps += 1;
  scalars->rate = static_cast<float>(rate / (1 - pow(options.beta1, t)));
  scalars->root = static_cast<float>(1 / sqrt(1 - pow(options.beta2, t)));
}

__global__ void __launch_bounds__(kThreads)
    adam_kernel(std::int64_t size, float* x, const float* gradient, float* m, float* v, const Scalars* scalars,
                float rest1, float beta2, float rest2, float epsilon) {
  const Cut cut = streaming(size);
  const float rate = scalars->rate;
  const float root = scalars->root;
  const std::int64_t end = cut.end(blockIdx.x);
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    const float g = gradient[i];
    const float first = m[i] + rest1 * (g - m[i]);
    const float second = beta2 * v[i] + rest2 * g * g;
    m[i] = first;
    v[i] = second;
    x[i] -= rate * first / (sqrtf(second) * root + epsilon);
  }
}

class Adam final : public AdamState {
 public:
  Adam(std::int64_t size, const ops::Adam::Options& options, const Decay& decay)
      : size_(size),
        options_(options),
        decay_(decay),
        moments_("adam", static_cast<std::size_t>(2 * size) * sizeof(float)),
        scalars_("adam", sizeof(Scalars)) {
    for (const Memory* memory : {&moments_, &scalars_}) {
      require(cudaMemsetAsync(memory->as<void>(), 0, memory->bytes(), nullptr), "adam", "clearing its state");
    }
    require(cudaStreamSynchronize(nullptr), "adam", "clearing its state");
  }

  void step(float* x, const float* gradient, Stream stream) override {
    float* m = moments_.as<float>();
    launch("adam", count_step, dim3(1), 1, 0, stream, scalars_.as<Scalars>(), options_, decay_);
    launch("adam", adam_kernel, grid("adam", streaming(size_).count, 1), kThreads, 0, stream, size_, x, gradient, m,
           m + size_, scalars_.as<const Scalars>(), static_cast<float>(1 - options_.beta1),
           static_cast<float>(options_.beta2), static_cast<float>(1 - options_.beta2),
           static_cast<float>(options_.epsilon));
  }

 private:
  std::int64_t size_;
  ops::Adam::Options options_;
  Decay decay_;
  Memory moments_, scalars_;
};

// The options are checked by the caller, as ops::Adam checks its own.
AdamState* make_adam(std::int64_t n, std::int64_t d, const ops::Adam::Options& options, const Decay& decay) {
  return new Adam(n * d, options, decay);
}

__global__ void __launch_bounds__(kThreads)
    descent_kernel(std::int64_t size, float* x, const float* gradient, float rate) {
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) x[i] -= rate * gradient[i];
}

void gradient_descent(std::int64_t size, float* x, const float* gradient, double rate, Stream stream) {
  const char* op = "gradient_descent";
  launch(op, descent_kernel, grid(op, streaming(size).count, 1), kThreads, 0, stream, size, x, gradient,
         static_cast<float>(rate));
}

const Registration first("make_adam", &make_adam);
const Registration second("gradient_descent", &gradient_descent);

}  // namespace
}  // namespace stylogram::cuda
