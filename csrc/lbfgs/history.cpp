#include "lbfgs/history.h"

#include <cmath>

namespace stylogram::lbfgs {

History::History(std::int64_t pairs) : slots_(pairs + 1) {
  const auto slots = static_cast<std::size_t>(slots_);
  sy_.resize(slots * slots);
  yy_.resize(slots * slots);
  products_.resize(slots);
  alpha_.resize(slots);
  beta_.resize(slots);
  combination_.s.resize(slots);
  combination_.y.resize(slots);
}

void History::clear() {
  oldest_ = forming();  // the forming pair stays where it is
  count_ = 0;
}

bool History::absorb(const Products* by_age, double curvature) {
  const std::int64_t newest = forming();
  for (std::int64_t age = 0; age <= count_; ++age) products(slot(age)) = by_age[age];
  const Products& pair = by_age[count_];
  if (!(pair.sy > curvature) || !std::isfinite(pair.sy) || !std::isfinite(pair.yy)) return false;
  for (std::int64_t age = 0; age <= count_; ++age) {
    const std::int64_t a = slot(age);
    sy(a, newest) = by_age[age].sy;
    yy(a, newest) = yy(newest, a) = by_age[age].yy;
  }
  if (count_ < slots_ - 1) {
    ++count_;
  } else {
    oldest_ = (oldest_ + 1) % slots_;
  }
  return true;
}

// rho s.q, where q = -g - sum over newer pairs of alpha y.
double History::first_loop(std::int64_t age) {
  const std::int64_t a = slot(age);
  double sum = -products(a).sg;
  for (std::int64_t newer = age + 1; newer < count_; ++newer) {
    sum -= alpha_[static_cast<std::size_t>(newer)] * sy(a, slot(newer));
  }
  return sum / sy(a, a);
}

// rho y.r, where r = scale (-g - sum over all pairs of alpha y) + sum over older pairs of (alpha - beta) s.
double History::second_loop(std::int64_t age, double scale) {
  const std::int64_t a = slot(age);
  double base = -products(a).yg;
  for (std::int64_t other = 0; other < count_; ++other) {
    base -= alpha_[static_cast<std::size_t>(other)] * yy(a, slot(other));
  }
  double sum = scale * base;
  for (std::int64_t older = 0; older < age; ++older) {
    sum += beta_[static_cast<std::size_t>(older)] * sy(slot(older), a);
  }
  return sum / sy(a, a);
}

const Combination& History::direction() {
  combination_.gradient = -1;
  if (count_ == 0) return combination_;
  const std::int64_t newest = slot(count_ - 1);
  const double scale = sy(newest, newest) / yy(newest, newest);
  for (std::int64_t age = count_ - 1; age >= 0; --age) alpha_[static_cast<std::size_t>(age)] = first_loop(age);
  for (std::int64_t age = 0; age < count_; ++age) {
    const auto i = static_cast<std::size_t>(age);
    beta_[i] = alpha_[i] - second_loop(age, scale);
    combination_.s[i] = static_cast<float>(beta_[i]);
    combination_.y[i] = static_cast<float>(-scale * alpha_[i]);
  }
  combination_.gradient = static_cast<float>(-scale);
  return combination_;
}

}  // namespace stylogram::lbfgs
