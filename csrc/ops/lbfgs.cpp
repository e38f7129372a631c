#include "ops/lbfgs.h"

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace stylogram::ops {
namespace {

constexpr std::int64_t kChunk = 2048;  // numbers whose y and g stay in the first cache while the pairs pass by
constexpr int kMostHalvings = 10;

using lbfgs::Combination;
using lbfgs::Products;

std::int64_t padded(std::int64_t d) { return (d + 15) / 16 * 16; }

std::size_t bytes_of(std::int64_t n, std::int64_t d, std::int64_t history, const Lbfgs::Options& options) {
  check(n >= 1 && d >= 1 && history >= 1, "lbfgs", "n, d and history must be >= 1, got ", n, ", ", d, " and ", history);
  const std::int64_t vectors = 2 * (history + 1) + (options.backtrack ? 1 : 0);
  return static_cast<std::size_t>(n * vectors * padded(d)) * sizeof(float);
}

double checked_rate(double rate) {
  check(rate > 0 && std::isfinite(rate), "lbfgs", "learning_rate must be finite and > 0, got ", rate);
  return rate;
}

double l1_norm(const float* g, std::int64_t length) {
  return simd::run([=]() STYLOGRAM_INLINE {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < length; ++i) sum += static_cast<double>(std::fabs(g[i]));
    return sum;
  });
}

// to = from - to
void subtract(const float* from, float* to, std::int64_t length) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) to[i] = from[i] - to[i];
  });
}

// The products of a chunk of one pair, summed in float lanes; chunks are summed in double.
void add_products(const float* s, const float* y, const float* new_y, const float* g, std::int64_t length,
                  Products* products) {
  const Products chunk = simd::run([=]() STYLOGRAM_INLINE {
    float sy = 0;
    float yy = 0;
    float sg = 0;
    float yg = 0;
#pragma omp simd reduction(+ : sy, yy, sg, yg)
    for (std::int64_t i = 0; i < length; ++i) {
      sy += s[i] * new_y[i];
      yy += y[i] * new_y[i];
      sg += s[i] * g[i];
      yg += y[i] * g[i];
    }
    return Products{static_cast<double>(sy), static_cast<double>(yy), static_cast<double>(sg), static_cast<double>(yg)};
  });
  products->sy += chunk.sy;
  products->yy += chunk.yy;
  products->sg += chunk.sg;
  products->yg += chunk.yg;
}

void scale(float factor, const float* from, float* to, std::int64_t length) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) to[i] = factor * from[i];
  });
}

void add_pair(float of_s, const float* s, float of_y, const float* y, float* to, std::int64_t length) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) to[i] += of_s * s[i] + of_y * y[i];
  });
}

// s = t d, x = base + s
void take_step(float t, const float* d, const float* base, float* s, float* x, std::int64_t length) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) {
      const float step = t * d[i];
      s[i] = step;
      x[i] = base[i] + step;
    }
  });
}

}  // namespace

// Numbers [begin, begin + length) of picture n.
struct Lbfgs::Stretch {
  std::int64_t n, begin, length;
};

Lbfgs::Lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options)
    : n_(n),
      d_(d),
      slots_(history + 1),
      stride_(padded(d)),
      options_(options),
      slices_(d, 32768, 64, kChunk),
      memory_(bytes_of(n, d, history, options)) {
  checked_rate(options.learning_rate);
  check(std::isfinite(options.curvature) && options.curvature >= 0, "lbfgs", "curvature must be finite and >= 0, got ",
        options.curvature);
  check(std::isfinite(options.tolerance) && options.tolerance >= 0, "lbfgs", "tolerance must be finite and >= 0, got ",
        options.tolerance);
  s_ = memory_.floats();
  y_ = s_ + n * slots_ * stride_;
  previous_ = options.backtrack ? y_ + n * slots_ * stride_ : nullptr;
  for (std::int64_t i = 0; i < n; ++i) pictures_.push_back(Picture{lbfgs::History(history)});
  products_.resize(static_cast<std::size_t>(n * slices_.count * slots_));
  norms_.resize(static_cast<std::size_t>(n * slices_.count));
}

void Lbfgs::reset() {
  for (Picture& picture : pictures_) {
    picture.history.clear();
    picture.has_previous = false;
    picture.outcome = Outcome::first;
  }
}

void Lbfgs::set_learning_rate(double rate) { options_.learning_rate = checked_rate(rate); }

void Lbfgs::step(float* x, const float* gradient, const double* value, Stream stream) {
  require_cpu("lbfgs", stream);
  check(value != nullptr || !options_.backtrack, "lbfgs", "value is needed with backtrack");
  measure(gradient);
  for (std::int64_t n = 0; n < n_; ++n) choose(at(n), value == nullptr ? nullptr : value + n);
  form_products(gradient);
  for (std::int64_t n = 0; n < n_; ++n) set_direction(n);
  move(x, gradient);
}

// body(slice number, stretch), for all slices of all pictures.
template <class Body>
void Lbfgs::for_slices(Order order, const Body& body) const {
  const std::int64_t parts = n_ * slices_.count;
  parallel_for(parts, [&](std::int64_t turn) {
    const std::int64_t part = order == Order::backwards ? parts - 1 - turn : turn;
    const std::int64_t slice = part % slices_.count;
    const std::int64_t begin = slices_.begin(slice);
    body(static_cast<std::size_t>(part), Stretch{part / slices_.count, begin, slices_.end(slice) - begin});
  });
}

void Lbfgs::measure(const float* gradient) {
  for_slices(Order::forwards, [&](std::size_t part, const Stretch& stretch) {
    norms_[part] = l1_norm(gradient + stretch.n * d_ + stretch.begin, stretch.length);
  });
  for (std::int64_t n = 0; n < n_; ++n) {
    at(n).norm = 0;
    for (std::int64_t slice = 0; slice < slices_.count; ++slice) {
      at(n).norm += norms_[static_cast<std::size_t>(n * slices_.count + slice)];
    }
  }
}

// What to do with a picture, before any pair is looked at. An advance is `kept` until its products are known.
void Lbfgs::choose(Picture& picture, const double* value) {
  const bool finite = std::isfinite(picture.norm);
  if (options_.backtrack && picture.has_previous) {
    const double most = picture.previous_value + options_.tolerance * std::fabs(picture.previous_value);
    if (!finite || !std::isfinite(*value) || *value > most) {
      picture.outcome = ++picture.halvings > kMostHalvings ? Outcome::restarted : Outcome::halved;
      return;
    }
  }
  if (!finite || (options_.backtrack && !std::isfinite(*value))) {
    picture.outcome = Outcome::not_finite;
    return;
  }
  picture.outcome = picture.has_previous ? Outcome::kept : Outcome::first;
  picture.previous_value = value == nullptr ? 0 : *value;
}

void Lbfgs::form_products(const float* gradient) {
  for_slices(Order::forwards, [&](std::size_t part, const Stretch& stretch) {
    if (at(stretch.n).outcome != Outcome::kept) return;
    products_of(stretch, gradient + stretch.n * d_, products_.data() + part * static_cast<std::size_t>(slots_));
  });
}

void Lbfgs::products_of(const Stretch& stretch, const float* gradient, Products* products) const {
  const lbfgs::History& history = at(stretch.n).history;
  const std::int64_t newest = history.forming();
  std::fill(products, products + history.count() + 1, Products{});
  const std::int64_t end = stretch.begin + stretch.length;
  for (std::int64_t i = stretch.begin; i < end; i += kChunk) {
    const std::int64_t length = std::min(kChunk, end - i);
    const float* g = gradient + i;
    float* new_y = y(stretch.n, newest) + i;
    subtract(g, new_y, length);
    for (std::int64_t age = 0; age <= history.count(); ++age) {
      const std::int64_t slot = history.slot(age);
      add_products(s(stretch.n, slot) + i, y(stretch.n, slot) + i, new_y, g, length, products + age);
    }
  }
}

void Lbfgs::start_along_gradient(Picture& picture, double norm) {
  picture.history.clear();
  picture.direction = &picture.history.direction();
  picture.length = static_cast<float>(std::min(1.0, 1.0 / norm) * options_.learning_rate);
  picture.halvings = 0;
}

void Lbfgs::set_direction(std::int64_t n) {
  Picture& picture = at(n);
  if (picture.outcome == Outcome::first) start_along_gradient(picture, picture.norm);
  if (picture.outcome == Outcome::restarted) start_along_gradient(picture, picture.previous_norm);
  if (picture.outcome == Outcome::kept) {
    Products* products = products_.data() + static_cast<std::size_t>(n * slices_.count * slots_);
    for (std::int64_t slice = 1; slice < slices_.count; ++slice) {
      for (std::int64_t age = 0; age <= picture.history.count(); ++age) {
        const Products& more = products[slice * slots_ + age];
        products[age].sy += more.sy;
        products[age].yy += more.yy;
        products[age].sg += more.sg;
        products[age].yg += more.yg;
      }
    }
    if (!picture.history.absorb(products, options_.curvature)) picture.outcome = Outcome::rejected;
    picture.direction = &picture.history.direction();
    picture.length = static_cast<float>(options_.learning_rate);
    picture.halvings = 0;
  }
  if (picture.outcome == Outcome::halved || picture.outcome == Outcome::not_finite) return;
  if (picture.outcome != Outcome::restarted) picture.previous_norm = picture.norm;
  picture.has_previous = true;
}

void Lbfgs::move(float* x, const float* gradient) {
  for_slices(Order::backwards, [&](std::size_t, const Stretch& stretch) {
    const Outcome outcome = at(stretch.n).outcome;
    if (outcome == Outcome::not_finite) return;
    const std::int64_t end = stretch.begin + stretch.length;
    for (std::int64_t i = stretch.begin; i < end; i += kChunk) {
      const Stretch chunk{stretch.n, i, std::min(kChunk, end - i)};
      float* place = x + stretch.n * d_ + i;
      if (outcome == Outcome::halved || outcome == Outcome::restarted) {
        go_back(chunk, place);
      } else {
        advance(chunk, place, gradient + stretch.n * d_ + i);
      }
    }
  });
}

void Lbfgs::combine(const Stretch& chunk, const float* gradient, float* direction) const {
  const Picture& picture = at(chunk.n);
  const Combination& c = *picture.direction;
  // The pair just kept is among them, and a slot is free again: `forming` is not read here.
  scale(c.gradient, gradient, direction, chunk.length);
  for (std::int64_t age = 0; age < picture.history.count(); ++age) {
    const std::int64_t slot = picture.history.slot(age);
    const auto i = static_cast<std::size_t>(age);
    add_pair(c.s[i], s(chunk.n, slot) + chunk.begin, c.y[i], y(chunk.n, slot) + chunk.begin, direction, chunk.length);
  }
}

void Lbfgs::advance(const Stretch& chunk, float* x, const float* gradient) const {
  alignas(64) float direction[kChunk];
  const Picture& picture = at(chunk.n);
  const std::int64_t forming = picture.history.forming();
  combine(chunk, gradient, direction);
  if (previous_ != nullptr) std::copy(x, x + chunk.length, previous_ + chunk.n * stride_ + chunk.begin);
  take_step(picture.length, direction, x, s(chunk.n, forming) + chunk.begin, x, chunk.length);
  std::copy(gradient, gradient + chunk.length, y(chunk.n, forming) + chunk.begin);
}

// Half the last step, or a first one, from the previous point, whose gradient the forming slot still has.
void Lbfgs::go_back(const Stretch& chunk, float* x) const {
  const Picture& picture = at(chunk.n);
  const std::int64_t forming = picture.history.forming();
  float* step = s(chunk.n, forming) + chunk.begin;
  const float* base = previous_ + chunk.n * stride_ + chunk.begin;
  if (picture.outcome == Outcome::halved) {
    take_step(0.5F, step, base, step, x, chunk.length);
  } else {
    take_step(-picture.length, y(chunk.n, forming) + chunk.begin, base, step, x, chunk.length);
  }
}

}  // namespace stylogram::ops
