// Average pools on a GPU, in 32 or 16 bits, with a picture's channels first or last.
//
//   y[o]  = scale Σ x over window o
//   gx[p] = scale Σ gy[o] over the windows o that p is in
//
// As max.h: each number is made by one thread.
#pragma once

#include "dispatch.h"
#include "pool/windows.h"

namespace stylogram::pool {

struct AveragePool : Planes {
  float scale;        // one over a window's places
  const void* given;  // x (planes, height, width, channels), or gy (planes, out_height, out_width, channels)
  void* made;         // y, or gx
};
using RunAveragePool = void(const AveragePool&, Stream);  // "average_pool" and "average_pool_gradient"

}  // namespace stylogram::pool
