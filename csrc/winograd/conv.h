// A convolution with 3x3 filters at stride 1, by Winograd's F(4x4, 3x3): a quarter of the multiplications.
//
//   y = Aᵀ [ Σ_c (G g Gᵀ) ⊙ (Bᵀ d B) ] A  for each tile of 4x4 outputs; d its 6x6 inputs, g a filter
//
// Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016). What stands around a convolution in a
// network and in its gradient is done on the way: bias, ReLU and pool behind it; before it the spreading of a pool's
// gradient, the sum with another gradient, and the mask of a ReLU (kernels.h). No tensor is written for these.
#pragma once

#include <cstdint>

#include "winograd/kernels.h"
#include "workspace.h"

namespace stylogram::winograd {

/// Everything contiguous and in float32, channels of (height, width) after one another.
struct Convolution {
  std::int64_t batch, in_channels, out_channels;
  std::int64_t top, left;  // pads; what lies beyond the input is 0, also at the bottom and on the right
  Channel input;           // of the first channel; the others follow
  Result output;           // likewise; its `bias` is not read
  const float* weights;    // (blocks, 3, 3, in_channels, kFilters): blocks of filters, the last filled with zeros
  const float* bias;       // (out_channels), may be null
};

/// Computes it. Every output is the same to the bit for any number of threads, and in any batch.
void convolve(const Convolution& convolution, const ForEach& for_each);

}  // namespace stylogram::winograd
