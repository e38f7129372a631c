#include "runtime/given.h"

#include <cmath>

#include "runtime/errors.h"

namespace stylogram::runtime {
namespace {

void check_weight(const std::optional<double>& value, double least, double most, const char* name) {
  require(!value || (*value >= least && *value <= most), Code::invalid_argument, name, ": a number from ", least,
          " to ", most, " is accepted, got ", value.value_or(0));
}

}  // namespace

const Options& checked(const Options& options) {
  require(options.threads >= 0 && options.threads <= 1024, Code::invalid_argument,
          "threads: 0 (all) to 1024 are accepted, got ", options.threads);
  require(options.history >= 1 && options.history <= 1000, Code::invalid_argument,
          "history: 1 to 1000 is accepted, got ", options.history);
  check_weight(options.content_weight, 0, 1e30, "content_weight");
  check_weight(options.style_weight, 0, 1e30, "style_weight");
  check_weight(options.tv_weight, 0, 1e30, "tv_weight");
  check_weight(options.precondition, 1, 4, "precondition");
  return options;
}

Plan plan_of(Plan plan, const Options& options) {
  plan.content_weight = options.content_weight.value_or(plan.content_weight);
  plan.style_weight = options.style_weight.value_or(plan.style_weight);
  plan.tv_weight = options.tv_weight.value_or(plan.tv_weight);
  plan.precondition = options.precondition.value_or(plan.precondition);
  require(plan.content_weight > 0 || plan.style_weight > 0, Code::invalid_argument,
          "content_weight and style_weight are both 0: one must be above 0");
  return plan;
}

void check_values(const char* what, const Pictures& pictures, bool bounded) {
  require(pictures.data != nullptr, Code::invalid_argument, what, ": the pictures' data are a null pointer");
  const std::int64_t size = pictures.count * 3 * pictures.height * pictures.width;
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = pictures.data[i];
    const bool fits = bounded ? value >= 0 && value <= 1 : std::isfinite(value);  // a NaN is neither
    require(fits, Code::invalid_argument, what, ": ", bounded ? "values in [0,1]" : "finite values",
            " are accepted, got ", value);
  }
}

}  // namespace stylogram::runtime
