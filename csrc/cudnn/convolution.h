// A convolution of pictures with their channels last, or a transposed one, by cuDNN: with its bias and its ReLU in one
// pass, where cuDNN has an engine ready for all of it; one that it would have to compile takes seconds at the first
// run, and is left out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

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

/// A plan, and what it was made of, which lives as long.
struct Plan {
  Descriptor graph, config, plan;
};

/// What cuDNN's heuristics choose for a problem, made once. Sums are of float32; numbers of float32 are multiplied as
/// TF32 where the GPU can.
class Convolution {
 public:
  /// Throws std::invalid_argument where cuDNN has no engine.
  Convolution(Handle handle, const Problem& problem);

  /// Whether the bias and the ReLU are in it; else y is the convolution alone.
  bool whole() const { return whole_; }
  /// Bytes that it works in.
  std::int64_t workspace() const { return workspace_; }
  void run(Handle handle, const void* x, const void* w, const void* bias, void* y, void* workspace) const;

 private:
  bool whole_ = false;
  std::optional<Plan> plan_;
  std::int64_t workspace_ = 0;
};

}  // namespace stylogram::cudnn
