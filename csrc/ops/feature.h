// The feature (content) loss.
//
//   value += scale sum w (F - P)^2;   dvalue/dF = 2 scale w (F - P)
//
// F, P: features of the picture and of the target, M = C positions numbers a picture; w: a weight for each position,
// the same for all channels, ones if there is none.
// Gatys, Ecker, Bethge, "A Neural Algorithm of Artistic Style" (2015), equations 1 and 2, whose 1/2 is in `scale` here.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "ops/form.h"

namespace stylogram::ops {

struct FeatureLoss {
  std::int64_t n, m;
  const void* features;  // (N, M)
  const float* target;   // (N, M), in the order of the features
  const double* scale;   // (N)
  void* gradient;        // (N, M): set, or added to
  double* value;         // (N): added to, in double
  bool accumulate;
  const float* weight = nullptr;  // (positions), M a multiple of it
  std::int64_t positions = 0;
  Form form = {};
};
void feature_loss(const FeatureLoss& loss, Stream stream);

}  // namespace stylogram::ops
