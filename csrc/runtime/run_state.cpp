#include "runtime/run_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/errors.h"

namespace stylogram::runtime {
namespace {

constexpr int kPatience = 12;  // evaluations in a row that are no numbers, while L-BFGS takes them back; as in Python

}  // namespace

Run::Run(const Pair& pair, const Plan& plan, int history, const Pictures& contents)
    : plan_(plan), history_(history), pass_(pair, contents), objective_(plan_, pass_) {
  restart();
}

void Run::set_contents(const Pictures& contents) {
  std::copy_n(contents.data, pass_.size(), pass_.picture());
  pass_.forward(nullptr);
  objective_.set_contents();
  restart();
}

void Run::set_styles(const std::vector<StyleTarget>& styles) {
  objective_.set_styles(styles);
  restart();
}

void Run::set_pictures(const float* pictures) {
  std::copy_n(pictures, pass_.size(), pass_.picture());
  restart();
}

void Run::restart() {
  const auto count = static_cast<std::size_t>(shape().count);
  iteration_ = 0;
  looked_ = moved_ = false;
  optimiser_.reset();  // its memory goes before the new one's comes, which may be refused
  optimiser_ = std::make_unique<Optimiser>(shape(), history_, plan_.precondition);
  bad_.assign(count, 0);
  lowest_.assign(count, std::numeric_limits<double>::infinity());
  better_.assign(count, 1);
}

void Run::look(const Stop& stop) {
  if (optimiser_ == nullptr) restart();
  objective_.evaluate(stop);
  looked_ = true;
  judge();
}

void Run::step(const Stop& stop) {
  if (!moved_) {
    optimiser_->step(pass_.picture(), pass_.gradient(), objective_.total().data());
    moved_ = true;
    looked_ = false;
  }
  objective_.evaluate(stop);
  moved_ = false;
  looked_ = true;
  ++iteration_;
  judge();
}

void Run::judge() {
  for (std::size_t n = 0; n < bad_.size(); ++n) {
    bad_[n] = objective_.finite(static_cast<std::int64_t>(n)) ? 0 : bad_[n] + 1;
    better_[n] = objective_.total()[n] < lowest_[n] ? 1 : 0;  // a NaN is not less
    if (better_[n] != 0) lowest_[n] = objective_.total()[n];
  }
}

void Run::require_finite() const {
  const int patience = iteration_ == 0 ? 1 : kPatience;
  for (std::size_t n = 0; n < bad_.size(); ++n) {
    require(bad_[n] < patience, Code::diverged, "picture ", n + 1, ": the loss or its gradient became no number (",
            objective_.total()[n], ") at iteration ", iteration_, "; smaller weights may help");
  }
}

void Run::show(Seen& seen) const {
  const auto size = static_cast<std::size_t>(pass_.size());
  seen.shape = shape();
  seen.iteration = iteration_;
  seen.names = objective_.names();
  seen.values = looked_ ? objective_.values() : std::vector<double>();
  seen.total = looked_ ? objective_.total() : std::vector<double>();
  seen.present.assign(pass_.picture(), pass_.picture() + size);
  seen.best.resize(size);
  const std::size_t one = size / better_.size();
  for (std::size_t n = 0; n < better_.size(); ++n) {
    if (better_[n] != 0) std::copy_n(pass_.picture() + n * one, one, seen.best.data() + n * one);
  }
}

}  // namespace stylogram::runtime
