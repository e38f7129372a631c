// The gradient of a max-pool whose windows may overlap.
//
//   gx[p] = Σ gy[o] over the windows o whose first maximum is at p;  0 where there is none
//
// First: in the order of rows. In ONNX's words that is a second run of the pool for its places and a scattered sum,
// which take ten times as long.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace stylogram::pool {

/// How the windows lie: over the input (height, width) for the output (out_height, out_width); what lies in pads, or
/// beyond, is no maximum.
struct Windows {
  std::int64_t height, width, out_height, out_width;
  std::array<std::int64_t, 2> kernel, strides, before;  // along y and x; before: pads above and on the left
};

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
