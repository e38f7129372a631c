// What runs for one set of contents: buffers, losses, optimiser, and how far it has come.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/feature_pass.h"
#include "runtime/objective.h"
#include "runtime/optimiser.h"

namespace stylogram::runtime {

/// What readers see of it: that of the last evaluation.
struct Seen {
  Shape shape;
  std::int64_t iteration = 0;
  std::vector<std::string> names;     // of the terms
  std::vector<double> values, total;  // (terms,N), (N); empty before the first evaluation
  std::vector<float> present, best;   // (N,3,H,W)
};

class Run {
 public:
  Run(const Pair& pair, const Plan& plan, int history, const Pictures& contents);

  const Shape& shape() const { return pass_.shape(); }
  std::int64_t iteration() const { return iteration_; }
  const std::vector<double>& losses() const { return objective_.total(); }
  bool looked() const { return looked_ || moved_; }

  /// The same as a new Run, for contents of the same shape.
  void set_contents(const Pictures& contents);
  void set_styles(const std::vector<StyleTarget>& styles);
  void set_pictures(const float* pictures);

  /// Evaluates the initial pictures. Throws Cancelled.
  void look(const Stop& stop);
  /// The next iteration, after look(). Throws Cancelled, after which it can be called again and goes on where it was.
  void step(const Stop& stop);
  /// Throws Error where the losses are no numbers any more; after show(), so that the best pictures are kept.
  void require_finite() const;
  /// Brings `seen` up to the last evaluation, or to the initial pictures.
  void show(Seen& seen) const;

 private:
  void restart();
  void judge();

  const Plan& plan_;
  int history_;
  FeaturePass pass_;
  Objective objective_;
  std::unique_ptr<Optimiser> optimiser_;
  std::int64_t iteration_ = 0;
  bool looked_ = false;         // the present pictures are evaluated
  bool moved_ = false;          // the optimiser has moved them, and they are not evaluated yet
  std::vector<int> bad_;        // (N): evaluations in a row that were no numbers
  std::vector<double> lowest_;  // (N)
  std::vector<char> better_;    // (N): the present picture is the best
};

}  // namespace stylogram::runtime
