// The scalars of L-BFGS for one picture: which slots hold its pairs (s, y), their inner products, and the coefficients
// of the direction. It knows nothing of the vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stylogram::lbfgs {

/// The inner products of one pair with the newest y and the newest gradient g.
struct Products {
  double sy = 0, yy = 0, sg = 0, yg = 0;
};

/// The direction: gradient * g + sum over the ages of s[age] * s_age + y[age] * y_age, oldest pair first.
struct Combination {
  float gradient = -1;
  std::vector<float> s, y;
};

/// A ring with one slot more than pairs: the pair being formed has its own, and takes no kept pair's place until it
/// is kept itself.
class History {
 public:
  explicit History(std::int64_t pairs);

  std::int64_t count() const { return count_; }
  std::int64_t slot(std::int64_t age) const { return (oldest_ + age) % slots_; }
  std::int64_t forming() const { return slot(count_); }
  void clear();

  /// Takes the products of the kept pairs by age, and at [count] those of the pair being formed. Keeps it, in place of
  /// the oldest if there is no room, if its y.s is more than `curvature` and finite; returns whether it did.
  bool absorb(const Products* products, double curvature);
  /// -H g by the two-loop recursion, on the products last absorbed; -g if there is no pair.
  const Combination& direction();

 private:
  double& sy(std::int64_t a, std::int64_t b) { return sy_[static_cast<std::size_t>(a * slots_ + b)]; }
  double& yy(std::int64_t a, std::int64_t b) { return yy_[static_cast<std::size_t>(a * slots_ + b)]; }
  Products& products(std::int64_t slot) { return products_[static_cast<std::size_t>(slot)]; }
  double first_loop(std::int64_t age);
  double second_loop(std::int64_t age, double scale);

  std::int64_t slots_, oldest_ = 0, count_ = 0;
  std::vector<double> sy_, yy_;       // (slots, slots): s_a . y_b for b as new as a or newer; y_a . y_b
  std::vector<Products> products_;    // by slot; of each, sg and yg are of the newest gradient
  std::vector<double> alpha_, beta_;  // by age; alpha - beta in the second loop
  Combination combination_;
};

}  // namespace stylogram::lbfgs
