// The alpha-norm of a picture, which keeps its values in bounds.
//
//   value += scale sum |x - shift|^alpha;   dvalue/dx = scale alpha sign(x - shift) |x - shift|^(alpha - 1)
//
// Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them" (2015), section 3: alpha = 6 on
// the picture minus its mean.
#pragma once

#include <cstdint>

#include "dispatch.h"

namespace stylogram::ops {

struct AlphaNorm {
  std::int64_t n, d;
  const float* picture;  // (N, D)
  double alpha;          // >= 1; the gradient at x = shift is 0, for alpha = 1 too
  double scale;
  double shift;
  float* gradient;  // (N, D): added to
  double* value;    // (N): added to, in double
};

/// Throws if alpha is below 1 or not finite.
void alpha_norm(const AlphaNorm& norm, Stream stream);

}  // namespace stylogram::ops
