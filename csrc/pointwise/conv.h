// A convolution with 1x1 filters: a product of the weights with the positions, in ONNX's own layout (N,C,H,W).
//
//   y = W x + bias;  before it [max(0,] x [)] where mask > 0, elsewhere 0
//
// ONNX Runtime's own is as fast, but in a layout of its own: between it and ops like WinogradConv every tensor is
// copied there and back, which takes longer than a product with few channels.
#pragma once

#include <cstdint>

#include "workspace.h"

namespace stylogram::pointwise {

/// Everything contiguous and in float32: x and mask (batch, in_channels, size), weights (out_channels, in_channels),
/// bias (out_channels), y (batch, out_channels, size). Mask and bias may be null.
struct Convolution {
  std::int64_t batch, in_channels, out_channels, size;
  const float* x;
  const float* mask;
  const float* weights;
  const float* bias;
  float* y;
  bool rectify_input;
};

/// Computes it. Every output is the same to the bit for any number of threads, and in any batch.
void convolve(const Convolution& convolution, const ForEach& for_each);

}  // namespace stylogram::pointwise
