// Max-pools on a GPU, in 32 or 16 bits, with a picture's channels first or last.
//
//   y[o]  = max of x over window o                                          a NaN wins
//   gx[p] = Σ gy[o] over the windows o whose first maximum is at p          0 where there is none
//
// First: in the order of rows. Each number is made by one thread, which looks at all that it depends on: nothing is
// added up by several, so that the same input gives the same bits, those of pool/max_gradient.h. Windows of 2x2 that
// lie side by side have kernels of their own, with these bits in less time (fours.h).
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "pool/windows.h"

namespace stylogram::pool {

struct MaxPool : Planes {
  bool positive;   // of the gradient: only maxima above 0 count, as behind the mask of a ReLU
  const void* x;   // (planes, height, width, channels)
  const void* gy;  // (planes, out_height, out_width, channels); null for y
  void* made;      // y, of gy's shape, or gx, of x's
};
using RunMaxPool = void(const MaxPool&, Stream);  // "max_pool" and "max_pool_gradient"

}  // namespace stylogram::pool
