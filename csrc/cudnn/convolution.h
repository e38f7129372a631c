// A convolution of pictures with their channels last, or a transposed one, by cuDNN: with its bias and its ReLU in one
// pass, where cuDNN has an engine ready for all of it; one that it would have to compile takes seconds at the first
// run, and is left out.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "cuda/number.h"
#include "cudnn/backend.h"

namespace stylogram::cudnn {

using Sizes = std::array<std::int64_t, 4>;

/// Sizes are (N,C,H,W), as cuDNN wants them; in memory x is (N,H,W,C), w (K,R,S,C/groups), bias (K), y (N,P,Q,K).
/// `transposed`: what takes the gradient on a convolution's output to that on its input, cuDNN's "backward data"; w is
/// that convolution's, so that x is (N,P,Q,K), bias (C) and y (N,H,W,C).
struct Problem {
  Sizes x, w, y;
  std::array<std::int64_t, 2> pads, strides, dilations;
  cuda::Number number;
  bool bias, rectify, transposed;
};

/// A way to do a problem: cuDNN's plan, and what it was made of, which lives as long.
struct Plan {
  Descriptor graph, config, plan;
  bool whole;              // the bias and the ReLU are in it; else y is the convolution alone
  std::int64_t workspace;  // bytes that it works in
};

struct Arrays {
  const void *x, *w, *bias;  // bias: null where the problem has none
  void* y;
};

/// Throws Refusal where cuDNN fails.
void run(Handle handle, const Plan& plan, const Arrays& arrays, void* workspace);

/// The first plan with which `first_run` does not throw, of all that cuDNN's heuristics have for a problem: those for
/// all of it, then those for the convolution alone; in their order, but that engines which add up in the same order
/// every time come first. What cuDNN refuses on the way is left out. Throws what the first run threw first where no
/// plan is left, std::invalid_argument where there was none. Sums are of float32; numbers of float32 are multiplied as
/// TF32 where the GPU can.
Plan chosen(Handle handle, const Problem& problem, const std::function<void(const Plan&)>& first_run);

/// How many problems of this process, a layer at a size each, were done which way.
struct Choices {
  std::int64_t fused;     // the bias, and the ReLU, in cuDNN's pass
  std::int64_t split;     // these by our kernel behind it (relu/bias.h)
  std::int64_t bare;      // a convolution that has neither
  std::int64_t unsteady;  // of all these: the engine may add up in another order every time, or does not say
  std::int64_t failed;    // first runs that failed, for which the next plan was tried
};
Choices choices();

}  // namespace stylogram::cudnn
