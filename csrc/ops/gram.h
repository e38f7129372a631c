// Gram matrices and the style loss on them.
//
//   G = F diag(w) F^T / W,  W = sum(w)                                     (C, C)
//   value += scale ||G - A||_F^2 + offset
//   dvalue/dF = 4 scale / W  (G - A) F diag(w)                             (C, P)
//
// F: features of one picture, C channels at P positions; w: a weight for each position, >= 0, ones if there is no mask.
// Gatys, Ecker, Bethge, "A Neural Algorithm of Artistic Style" (2015), equations 3 to 6, whose normalisations are in
// `scale` here; masks: Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer" (2017), equation 3.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "ops/form.h"

namespace stylogram::ops {

/// Sizes, and the mask: w (P) with mask_stride 0, or (N, P) with mask_stride P; null for ones. `form` is the features'.
struct GramShape {
  std::int64_t n, c, p;
  const float* mask = nullptr;
  std::int64_t mask_stride = 0;
  Form form = {};
};

/// out (N, C, C) = G of features (N, C, P). Throws if a weight is negative or not finite, or a mask's sum is 0.
void gram(const GramShape& shape, const void* features, float* out, Stream stream);

/// `gram` (N, C, C) is set to G; gradient (N, C, P) is set, or added to; value (N) is added to, in double.
struct GramLoss {
  const void* features;
  const float* target;   // (N, C, C), A, symmetric
  const double* scale;   // (N)
  const double* offset;  // (N)
  float* gram;
  void* gradient;
  double* value;
  bool accumulate;
};
void gram_loss(const GramShape& shape, const GramLoss& loss, Stream stream);

}  // namespace stylogram::ops
