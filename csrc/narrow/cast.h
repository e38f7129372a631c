// float32 to float16 or bfloat16 and back on a GPU, scaled, with a picture's channels moved from first to last and
// back:
//
//   narrow:  y[n] = narrow(scale x[n] / unit[n])    x (N, C, P) or, turned, y (N, P, C)
//   widen:   y[n] = scale unit[n] wide(x[n])        y (N, C, P) or, turned, x (N, P, C)
//   peak:    p[n] = max(before[n], max |x[n]|)      over all of x (N, C P); a NaN is none
//
// A unit is a peak, at least kLeast; 1 where there are none. In ONNX's words these are Cast, Mul, Max, Div, Transpose,
// Abs and ReduceMax, each with a pass over memory of its own.
#pragma once

#include <cstdint>

#include "cuda/number.h"
#include "dispatch.h"

namespace stylogram::narrow {

constexpr float kLeast = 1e-30F;

struct Cast {
  std::int64_t n, channels, places;
  bool turned;
  cuda::Number number;  // float16 or bfloat16, of the narrow side
  const void* x;
  void* y;
  const float* peak;  // (N), or null
  float scale;
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
