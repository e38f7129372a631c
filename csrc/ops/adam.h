// Adam and plain gradient descent, in place.
//
//   m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
//   x -= rate / (1 - b1^t)  m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
//
// Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1, in the order of torch.optim.Adam.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "scratch.h"

namespace stylogram::ops {

/// N independent pictures of d numbers: each number has its own m and v, so N and d only give the size.
class Adam {
 public:
  struct Options {
    double learning_rate;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
  };
  /// Throws unless n, d >= 1, 0 <= beta < 1, epsilon >= 0 and the rate is finite and > 0.
  Adam(std::int64_t n, std::int64_t d, const Options& options);

  void step(float* x, const float* gradient, Stream stream);
  void reset();
  std::int64_t n() const { return n_; }
  std::int64_t d() const { return d_; }
  double learning_rate() const { return options_.learning_rate; }
  void set_learning_rate(double rate);

 private:
  std::int64_t n_, d_;
  Options options_;
  std::int64_t steps_ = 0;
  Scratch<float> moments_;  // m, then v
  float* m_;
  float* v_;
};

/// x -= rate gradient, for `size` numbers.
void gradient_descent(std::int64_t size, float* x, const float* gradient, double rate, Stream stream);

}  // namespace stylogram::ops
