// How the windows of a pool lie over a picture.
#pragma once

#include <cstdint>

#include "cuda/number.h"

namespace stylogram::pool {

struct Along {
  std::int64_t y, x;
};

/// Over the input (height, width) for the output (out_height, out_width); what lies in pads, or beyond, is no maximum.
struct Windows {
  std::int64_t height, width, out_height, out_width;
  Along kernel, strides, before;  // before: pads above and on the left
};

/// `planes` of (height, width) places with `channels` numbers at each: N * C and 1 where channels come first, N and C
/// where they come last.
struct Planes {
  Windows windows;
  std::int64_t planes, channels;
  cuda::Number number;
};

}  // namespace stylogram::pool
