// The gradient of a ReLU on a GPU, in 32 or 16 bits:
//
//   gx = gy + more where y > 0;  0 elsewhere
//
// `more` is what a loss on the ReLU's output adds. In ONNX's words that is an addition, a comparison and a choice, each
// with a pass over memory of its own; and for bfloat16 ONNX Runtime's CUDA provider has no comparison.
#pragma once

#include <cstdint>

#include "cuda/number.h"
#include "dispatch.h"

namespace stylogram::relu {

struct Gradient {
  std::int64_t size;
  cuda::Number number;
  const void* y;     // (size)
  const void* gy;    // (size)
  const void* more;  // (size), or null
  void* gx;          // (size); may be gy or more
};
using RunGradient = void(const Gradient&, Stream);  // "relu_gradient"

}  // namespace stylogram::relu
