// A convolution's bias and the ReLU behind it on a GPU, in 32 or 16 bits:
//
//   y = max(x + bias of the channel, 0)          a NaN stays one
//
// cuDNN adds a bias to a convolution in the same pass where it has an engine for both, and fails where it has none;
// ONNX Runtime's other way is a pass for the bias and one for the ReLU.
#pragma once

#include <cstdint>

#include "cuda/number.h"
#include "dispatch.h"

namespace stylogram::relu {

struct Bias {
  std::int64_t n, channels, places;
  bool last;     // (N, places, channels) in place of (N, channels, places)
  bool rectify;  // else the bias alone
  cuda::Number number;
  const void* x;
  const void* bias;  // (channels)
  void* y;           // may be x
};
using RunBias = void(const Bias&, Stream);  // "bias_relu"

}  // namespace stylogram::relu
