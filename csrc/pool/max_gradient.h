// The gradient of a max-pool whose windows may overlap.
//
//   gx[p] = Σ gy[o] over the windows o whose first maximum is at p;  0 where there is none
//
// First: in the order of rows. In ONNX's words that is a second run of the pool for its places and a scattered sum,
// which take longer.
#pragma once

#include <cstdint>
#include <vector>

#include "pool/windows.h"

namespace stylogram::pool {

/// One row of windows, while it is looked at.
struct Row {
  explicit Row(const Windows& windows)
      : most(static_cast<std::size_t>(windows.out_width)), place(static_cast<std::size_t>(windows.out_width)) {}
  std::vector<float> most;
  std::vector<std::int32_t> place;  // in the input; -1: none
};

/// One channel: x and gx (height, width), gy (out_height, out_width). With `positive` only maxima above 0 count, as
/// behind the mask of a ReLU. height * width < 2^31.
void max_gradient(const Windows& windows, bool positive, const float* x, const float* gy, float* gx, Row& row);

}  // namespace stylogram::pool
