// The weighted losses of N pictures and their gradient: those of `stylogram stylize` with its default preset.
//
//   L = w_c sum_l c_l ||F_l - P_l||^2 / ||P_l||^2 + w_s sum_l s_l sum_k a_k ||G_l - A_kl||^2 / ||A_kl||^2 + w_tv TV(x)
//
// F: features of the picture, P: of the content; G, A: Gram matrices of the picture and of style k, whose share is a_k;
// TV: the mean of squared differences. As engine/stylogram/losses/{content,style,tv}.py, in the same order of sums.
#pragma once

#include <string>
#include <vector>

#include "runtime/feature_pass.h"
#include "runtime/pair.h"

namespace stylogram::runtime {

/// Gram matrices (C,C) of one style, by style layer: those of one picture for all contents, or of one for each.
struct StyleTarget {
  double share;
  std::vector<std::vector<std::vector<float>>> grams;  // by picture, by layer
};

/// Throws Error for features that are not (N,C,h,w), or overflow.
StyleTarget style_target(const Pair& pair, const Style& style);

/// Throws Error where a style has neither one picture for all of `count` contents nor one for each.
void check_count(const std::vector<StyleTarget>& styles, std::int64_t count);

class Objective {
 public:
  /// `pass` has the features of the contents. The pass and the plan have to outlive it.
  Objective(const Plan& plan, const FeaturePass& pass);

  /// The contents that `pass` has the features of now.
  void set_contents();
  /// Throws Error unless each target is for all pictures, or for as many as there are.
  void set_styles(const std::vector<StyleTarget>& styles);

  /// Computes values, total and gradient at the present pictures. Throws Cancelled.
  void evaluate(const Stop& stop);
  /// Whether picture n's loss and gradient are numbers.
  bool finite(std::int64_t n) const;

  const std::vector<std::string>& names() const { return names_; }
  const std::vector<double>& values() const { return values_; }  // (terms, N)
  const std::vector<double>& total() const { return total_; }    // (N)

 private:
  struct Content {
    const Layer* layer;
    std::vector<float> target;  // (N,M)
    std::vector<double> scale;  // (N)
  };
  struct Gram {
    const Layer* layer;
    std::int64_t channels, positions;
    std::vector<float> target, work;    // (N,C,C)
    std::vector<double> scale, offset;  // (N)
  };
  void set_style(Gram& term, std::size_t layer, std::int64_t n, const std::vector<StyleTarget>& styles) const;
  void add_features();
  double* row(std::size_t term) { return values_.data() + term * static_cast<std::size_t>(pass_.shape().count); }

  const Plan& plan_;
  const FeaturePass& pass_;
  std::vector<Content> contents_;
  std::vector<Gram> grams_;
  std::vector<std::string> names_;
  std::vector<double> values_, total_;
};

}  // namespace stylogram::runtime
