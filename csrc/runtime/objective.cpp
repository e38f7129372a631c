#include "runtime/objective.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "ops/feature.h"
#include "ops/gram.h"
#include "ops/tv.h"
#include "runtime/errors.h"

namespace stylogram::runtime {
namespace {

const Stream kCpu = {};

template <class Number>
double square_of(const Number* values, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

std::vector<float> gram_of(const Layer& layer, const Dims& dims, const float* features) {
  require(dims.size() == 4, Code::network, "style layer ", layer.name, " is ", text(dims),
          "; a layer (N,C,h,w), with rows and columns, is needed");
  std::vector<float> gram(index(dims[1] * dims[1]));
  ops::gram({1, dims[1], dims[2] * dims[3]}, features, gram.data(), kCpu);
  require(std::isfinite(square_of(gram.data(), gram.size())), Code::network, "style layer ", layer.name,
          ": the style's features overflow; the network's weights are too large");
  return gram;
}

}  // namespace

StyleTarget style_target(const Pair& pair, const Style& style) {
  const Pictures& given = style.pictures;
  const std::vector<Layer>& layers = pair.plan().style;
  std::vector<std::string> taps;
  taps.reserve(layers.size());
  for (const Layer& layer : layers) taps.push_back(layer.tensor);
  StyleTarget target{style.share, {}};
  for (std::int64_t n = 0; n < given.count && !taps.empty(); ++n) {
    const float* const picture = given.data + n * 3 * given.height * given.width;
    std::vector<std::vector<float>>& grams = target.grams.emplace_back(layers.size());
    features_of(pair, picture, given.height, given.width, taps,
                [&](std::size_t tap, const Dims& dims, const float* features) {
                  grams[tap] = gram_of(layers[tap], dims, features);
                });
  }
  return target;
}

Objective::Objective(const Plan& plan, const FeaturePass& pass) : plan_(plan), pass_(pass) {
  const auto n = index(pass.shape().count);
  for (const Layer& layer : plan.content) {
    if (plan.content_weight <= 0) break;
    contents_.push_back(
        {&layer, std::vector<float>(index(pass.features(layer.tensor).size())), std::vector<double>(n)});
    names_.push_back("content " + layer.name);
  }
  for (const Layer& layer : plan.style) {
    if (plan.style_weight <= 0) break;
    const Dims& dims = pass.features(layer.tensor).dims();
    require(dims.size() == 4, Code::network, "style layer ", layer.name, " is ", text(dims), "; (N,C,h,w) is needed");
    const std::size_t size = n * index(dims[1] * dims[1]);
    grams_.push_back({&layer, dims[1], dims[2] * dims[3], std::vector<float>(size), std::vector<float>(size),
                      std::vector<double>(n), std::vector<double>(n)});
    names_.push_back("style " + layer.name);
  }
  if (plan.tv_weight > 0) names_.emplace_back("tv");
  values_.resize(names_.size() * n);
  total_.resize(n);
  set_contents();
}

void Objective::set_contents() {
  for (Content& term : contents_) {
    const Tensor& features = pass_.features(term.layer->tensor);
    std::copy_n(features.floats(), term.target.size(), term.target.begin());
    const std::size_t size = term.target.size() / term.scale.size();
    for (std::size_t n = 0; n < term.scale.size(); ++n) {
      const double square = square_of(term.target.data() + n * size, size);
      require(std::isfinite(square), Code::network, "content layer ", term.layer->name, ": the features overflow");
      term.scale[n] = term.layer->weight * plan_.content_weight * (square > 0 ? 1 / square : 1);
    }
  }
}

void check_count(const std::vector<StyleTarget>& styles, std::int64_t count) {
  for (const StyleTarget& style : styles) {
    const auto given = static_cast<std::int64_t>(style.grams.size());
    require(given == 1 || given == count, Code::invalid_argument, "style: 1 picture for all, or one for each of the ",
            count, " contents, is accepted, got ", given);
  }
}

void Objective::set_styles(const std::vector<StyleTarget>& styles) {
  const std::int64_t count = pass_.shape().count;
  if (!grams_.empty()) check_count(styles, count);
  for (std::size_t layer = 0; layer < grams_.size(); ++layer) {
    for (std::int64_t n = 0; n < count; ++n) set_style(grams_[layer], layer, n, styles);
  }
}

// sum_k c_k ||G - A_k||^2 = c ||G - A||^2 + sum_k c_k ||A_k||^2 - c ||A||^2, with c = sum c_k, A = sum c_k A_k / c.
void Objective::set_style(Gram& term, std::size_t layer, std::int64_t n, const std::vector<StyleTarget>& styles) const {
  const std::size_t size = index(term.channels * term.channels);
  const double shares = std::accumulate(styles.begin(), styles.end(), 0.0,
                                        [](double sum, const StyleTarget& style) { return sum + style.share; });
  std::vector<double> mean(size);
  double scale = 0, squares = 0;
  for (const StyleTarget& style : styles) {
    const std::vector<float>& gram = style.grams[style.grams.size() == 1 ? 0 : index(n)][layer];
    const double square = square_of(gram.data(), size);
    const double own = term.layer->weight * plan_.style_weight * (style.share / shares) * (square > 0 ? 1 / square : 1);
    scale += own;
    squares += own * square;
    for (std::size_t i = 0; i < size; ++i) mean[i] += own * static_cast<double>(gram[i]);
  }
  for (double& value : mean) value /= scale;
  term.scale[index(n)] = scale;
  term.offset[index(n)] = std::max(squares - scale * square_of(mean.data(), size), 0.0);
  std::transform(mean.begin(), mean.end(), term.target.begin() + static_cast<std::ptrdiff_t>(index(n) * size),
                 [](double value) { return static_cast<float>(value); });
}

void Objective::evaluate(const Stop& stop) {
  const Shape& shape = pass_.shape();
  pass_.forward(&stop);
  std::fill(values_.begin(), values_.end(), 0.0);
  add_features();
  stop.check();
  pass_.backward(&stop);
  if (plan_.tv_weight > 0) {
    const std::int64_t differences = 3 * (shape.height * (shape.width - 1) + (shape.height - 1) * shape.width);
    const double scale = plan_.tv_weight / static_cast<double>(differences);
    ops::tv({shape.count, 3, shape.height, shape.width, pass_.picture(), ops::TvKind::anisotropic, 2.0, scale,
             pass_.gradient(), row(names_.size() - 1)},
            kCpu);
  }
  for (std::size_t n = 0; n < total_.size(); ++n) {
    total_[n] = 0;
    for (std::size_t term = 0; term < names_.size(); ++term) total_[n] += row(term)[n];
  }
}

void Objective::add_features() {
  const std::int64_t count = pass_.shape().count;
  std::set<std::string> written;
  std::size_t at = 0;
  for (const Content& term : contents_) {
    const std::string& tap = term.layer->tensor;
    const auto size = static_cast<std::int64_t>(term.target.size());
    ops::feature_loss({count, size / count, pass_.features(tap).floats(), term.target.data(), term.scale.data(),
                       pass_.gradients(tap).floats(), row(at++), !written.insert(tap).second},
                      kCpu);
  }
  for (Gram& term : grams_) {
    const std::string& tap = term.layer->tensor;
    ops::gram_loss({count, term.channels, term.positions},
                   {pass_.features(tap).floats(), term.target.data(), term.scale.data(), term.offset.data(),
                    term.work.data(), pass_.gradients(tap).floats(), row(at++), !written.insert(tap).second},
                   kCpu);
  }
}

bool Objective::finite(std::int64_t n) const {
  const std::int64_t size = pass_.size() / pass_.shape().count;
  const float* const gradient = pass_.gradient() + n * size;
  return std::isfinite(total_[index(n)]) &&
         std::all_of(gradient, gradient + size, [](float value) { return std::isfinite(value); });
}

}  // namespace stylogram::runtime
