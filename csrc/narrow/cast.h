// float32 to float16 and back on a GPU, scaled, with a picture's channels moved from first to last and back:
//
//   narrow:  y[n] = float16(factor[n] x[n])       x (N, C, P) or, turned, y (N, P, C)
//   widen:   y[n] = scale float32(x[n])           y (N, C, P) or, turned, x (N, P, C)
//   peak:    p[n] = max(before[n], max |x[n]|)    over all of x (N, C P); a NaN is none
//
// In ONNX's words these are Cast, Mul, Transpose, Abs and ReduceMax, each with a pass over memory of its own.
#pragma once

#include <cstdint>

#include "dispatch.h"

namespace stylogram::narrow {

struct Cast {
  std::int64_t n, channels, places;
  bool turned;
  const void* x;
  void* y;
  const float* factor;  // (N), of narrow
  float scale;          // of widen
};
using RunCast = void(const Cast&, Stream);  // "narrow" and "widen"

struct Peak {
  std::int64_t n, size;
  const float* x;       // (N, size)
  const float* before;  // (N), or null: 0
  float* peak;          // (N)
};
using RunPeak = void(const Peak&, Stream);  // "peak"

}  // namespace stylogram::narrow
