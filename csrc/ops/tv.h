// Total variation, with dx = x[i, j+1] - x[i, j] and dy = x[i+1, j] - x[i, j].
//
//   anisotropic:  value += scale (sum |dx|^p + sum |dy|^p), over all differences
//   isotropic:    value += scale sum (dx^2 + dy^2)^(p/2), over the (H-1) x (W-1) pixels that have both
//
// The gradient is that of the formula, and 0 where a term has none (|d| at 0). p = 2 is the mean-of-squares kind once
// divided, p = 1 that of the PyTorch port of neural-style, isotropic p = 2.5 that of the Keras example; isotropic is
// V_beta with beta = p of Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them" (2015).
#pragma once

#include <cstdint>

#include "dispatch.h"

namespace stylogram::ops {

enum class TvKind { anisotropic, isotropic };

struct Tv {
  std::int64_t n, c, h, w;
  const float* picture;  // (N, C, H, W)
  TvKind kind;
  double power;  // >= 1
  double scale;
  float* gradient;  // (N, C, H, W): added to
  double* value;    // (N): added to, in double
};

/// Throws if power is below 1 or not finite.
void tv(const Tv& tv, Stream stream);

}  // namespace stylogram::ops
