// L-BFGS for a batch of independent pictures, without a line search, in its vector-free form.
//
//   d = -H g,  x += t d;  t = rate min(1, 1/||g||_1) along -g at first, then t = rate
//   s = t d, y = g' - g;  the pair is kept if y.s > curvature;  H0 = y.s / y.y of the newest pair kept
//
// These are the steps of torch.optim.LBFGS with line_search_fn=None, and of the field's programs. Nocedal, "Updating
// quasi-Newton matrices with limited storage" (1980), gives the two-loop recursion for H g. Its vectors stay within
// the span of g and the stored s and y, so it can be run on coefficients: Chen, Wang and Zhou, "Large-scale L-BFGS
// using MapReduce" (2014). One pass over the stored pairs gives the inner products of the new y and g with all of them,
// a recursion over scalars in double gives the coefficients, and one pass combines the vectors, moves x and leaves s.
// Of the products that the paper keeps, s.s and s_new.y_old do not occur in the recursion and are not computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dispatch.h"
#include "lbfgs/history.h"
#include "lbfgs/pairs.h"
#include "slices.h"

namespace stylogram::ops {

class Lbfgs {
 public:
  struct Options {
    double learning_rate = 1.0;
    double curvature = 1e-10;  // a pair is kept if y.s is more
    bool backtrack = false;    // see step
    double tolerance = 1e-4;   // the relative increase of the value that backtrack lets pass
  };
  /// What the last step did with a picture.
  enum class Outcome : std::int32_t {
    first,       // a step along -g, of length rate min(1, 1/||g||_1)
    kept,        // the pair was kept, and a step taken along -H g
    rejected,    // the pair had no curvature: a step along -H g with the pairs that there were
    halved,      // backtrack: half the last step, from the point before it
    restarted,   // backtrack: ten halvings were not enough; the history is cleared and a first step taken
    not_finite,  // the gradient has a NaN or an infinity: x and the history are as they were
  };

  /// N pictures of d numbers, and the last `history` pairs of each. All memory is reserved here, and takes room when it
  /// is first used; in a file at once. Throws unless n, d, history >= 1, the options are finite and in their range, and
  /// the file can be had.
  Lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options,
        const lbfgs::Storage& storage = {});

  /// Moves x (n, d), given the gradient (n, d) there and, for backtrack, the value (n) there (else it may be null).
  ///
  /// backtrack: where the value is not finite, or above the value at the previous point by more than tolerance times
  /// its magnitude, or the gradient is not finite, the picture goes back to the previous point and takes half the step
  /// that it took, at most ten times. Then its history is cleared and a first step taken from the previous point.
  void step(float* x, const float* gradient, const double* value, Stream stream);
  /// Forgets all pairs; the next step is a first one.
  void reset();

  std::int64_t n() const { return n_; }
  std::int64_t d() const { return d_; }
  std::int64_t history() const { return slots_ - 1; }
  std::int64_t count(std::int64_t picture) const { return at(picture).history.count(); }
  Outcome outcome(std::int64_t picture) const { return at(picture).outcome; }
  /// Bytes of the stored vectors, whether they take room yet or not.
  std::size_t bytes() const { return pairs_.bytes(); }
  double learning_rate() const { return options_.learning_rate; }
  void set_learning_rate(double rate);

 private:
  struct Picture {
    lbfgs::History history;
    Outcome outcome = Outcome::first;
    bool has_previous = false;  // a step was taken: the forming slot holds s, and in y the gradient before it
    int halvings = 0;           // of the last step
    double norm = 0;            // ||g||_1 of the newest gradient; not finite if it is not
    double previous_norm = 0;   // and of that at the previous point
    double previous_value = 0;
    const lbfgs::Combination* direction = nullptr;
    float length = 0;  // t
  };
  enum class Order { forwards, backwards };  // backwards begins with the pairs that the caches still hold

  const Picture& at(std::int64_t n) const { return pictures_[static_cast<std::size_t>(n)]; }
  Picture& at(std::int64_t n) { return pictures_[static_cast<std::size_t>(n)]; }
  template <class Body>
  void for_slices(Order order, const Body& body) const;

  void measure(const float* gradient);
  void choose(Picture& picture, const double* value);
  void form_products(const float* gradient);
  void fetch(const lbfgs::Part& part) const;
  void products_of(const lbfgs::Part& part, const float* gradient, lbfgs::Products* products);
  void set_direction(std::int64_t n);
  void start_along_gradient(Picture& picture, double norm);
  void move(float* x, const float* gradient);
  void combine(const lbfgs::Part& part, const float* gradient, float* direction) const;
  void advance(const lbfgs::Part& part, float* x, const float* gradient) const;
  void go_back(const lbfgs::Part& part, float* x) const;

  std::int64_t n_, d_, slots_;
  Options options_;
  Slices slices_;
  lbfgs::Pairs pairs_;  // with backtrack, and x at the previous point
  std::vector<Picture> pictures_;
  std::vector<lbfgs::Products> products_;  // (n, slices, slots) by age
  std::vector<double> norms_;              // (n, slices)
};

}  // namespace stylogram::ops
