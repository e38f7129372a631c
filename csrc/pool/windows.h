// How the windows of a pool lie over a picture.
#pragma once

#include <cstdint>

namespace stylogram::pool {

struct Along {
  std::int64_t y, x;
};

/// Over the input (height, width) for the output (out_height, out_width); what lies in pads, or beyond, is no maximum.
struct Windows {
  std::int64_t height, width, out_height, out_width;
  Along kernel, strides, before;  // before: pads above and on the left
};

}  // namespace stylogram::pool
