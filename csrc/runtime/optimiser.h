// L-BFGS, preconditioned by scale where the network wants it: x = x0 + S z, and L-BFGS moves z. As
// engine/stylogram/preconditioned.py and optimise.py.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/lbfgs.h"
#include "ops/pyramid.h"
#include "stylogram/stylogram.hpp"

namespace stylogram::runtime {

class Optimiser {
 public:
  /// `growth`: how much further coarse structures move than those of half the size; 1: no further.
  Optimiser(const Shape& shape, std::int64_t history, double growth);
  /// Moves the pictures (N,3,H,W), given the gradient and the losses (N) there. Nothing else may have moved them since
  /// the step before.
  void step(float* pictures, const float* gradient, const double* losses);

 private:
  std::int64_t size_;
  ops::Lbfgs lbfgs_;
  std::unique_ptr<ops::Pyramid> pyramid_;
  std::vector<float> start_, z_, gradient_;  // (N,3,H,W) with a pyramid; start_ is empty before the first step
};

}  // namespace stylogram::runtime
