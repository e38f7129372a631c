#include "ops/lbfgs.h"

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace stylogram::ops {
namespace {

constexpr std::int64_t kChunk = lbfgs::kBlock;
constexpr int kMostHalvings = 10;

using lbfgs::Buffer;
using lbfgs::Combination;
using lbfgs::Pair;
using lbfgs::Part;
using lbfgs::Products;

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

Lbfgs::Lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options,
             const lbfgs::Storage& storage)
    : n_(n),
      d_(d),
      slots_(history + 1),
      options_(options),
      slices_(d, 32768, 64, kChunk),
      pairs_(n, d, history + 1, options.backtrack, storage) {
  checked_rate(options.learning_rate);
  check(std::isfinite(options.curvature) && options.curvature >= 0, "lbfgs", "curvature must be finite and >= 0, got ",
        options.curvature);
  check(std::isfinite(options.tolerance) && options.tolerance >= 0, "lbfgs", "tolerance must be finite and >= 0, got ",
        options.tolerance);
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

// body(number, part), for all slices of all pictures.
template <class Body>
void Lbfgs::for_slices(Order order, const Body& body) const {
  const std::int64_t parts = n_ * slices_.count;
  parallel_for(parts, [&](std::int64_t turn) {
    const std::int64_t number = order == Order::backwards ? parts - 1 - turn : turn;
    const std::int64_t slice = number % slices_.count;
    const std::int64_t begin = slices_.begin(slice);
    body(static_cast<std::size_t>(number), Part{number / slices_.count, begin, slices_.end(slice) - begin});
  });
}

void Lbfgs::measure(const float* gradient) {
  for_slices(Order::forwards, [&](std::size_t number, const Part& part) {
    norms_[number] = l1_norm(gradient + part.n * d_ + part.begin, part.length);
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
  for_slices(Order::forwards, [&](std::size_t number, const Part& part) {
    if (at(part.n).outcome != Outcome::kept) return;
    products_of(part, gradient + part.n * d_, products_.data() + number * static_cast<std::size_t>(slots_));
  });
}

// The beginning of a part is about to be used: of vectors in a file it is asked for at once, and not page by page.
void Lbfgs::fetch(const Part& part) const {
  if (!pairs_.in_file()) return;
  const lbfgs::History& history = at(part.n).history;
  const Part start{part.n, part.begin, std::min(lbfgs::kFetch, part.length)};
  for (std::int64_t age = 0; age <= history.count(); ++age) pairs_.fetch(start, history.slot(age));
}

void Lbfgs::products_of(const Part& part, const float* gradient, Products* products) {
  const lbfgs::History& history = at(part.n).history;
  const std::int64_t newest = history.forming();
  Buffer buffer;
  std::fill(products, products + history.count() + 1, Products{});
  const std::int64_t end = part.begin + part.length;
  for (std::int64_t i = part.begin; i < end; i += kChunk) {
    if ((i - part.begin) % lbfgs::kFetch == 0) fetch({part.n, i, end - i});
    const Part chunk{part.n, i, std::min(kChunk, end - i)};
    const float* g = gradient + i;
    float* new_y = pairs_.forming_y(chunk, newest);
    subtract(g, new_y, chunk.length);
    pairs_.seal(chunk, newest);
    for (std::int64_t age = 0; age <= history.count(); ++age) {
      const Pair pair = pairs_.load(chunk, history.slot(age), buffer);
      add_products(pair.s, pair.y, new_y, g, chunk.length, products + age);
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
  for_slices(Order::backwards, [&](std::size_t, const Part& part) {
    const Outcome outcome = at(part.n).outcome;
    if (outcome == Outcome::not_finite) return;
    const std::int64_t end = part.begin + part.length;
    for (std::int64_t i = part.begin; i < end; i += kChunk) {
      if ((i - part.begin) % lbfgs::kFetch == 0) fetch({part.n, i, end - i});
      const Part chunk{part.n, i, std::min(kChunk, end - i)};
      float* place = x + part.n * d_ + i;
      if (outcome == Outcome::halved || outcome == Outcome::restarted) {
        go_back(chunk, place);
      } else {
        advance(chunk, place, gradient + part.n * d_ + i);
      }
    }
  });
}

void Lbfgs::combine(const Part& chunk, const float* gradient, float* direction) const {
  const Picture& picture = at(chunk.n);
  const Combination& c = *picture.direction;
  Buffer buffer;
  // The pair just kept is among them, and a slot is free again: `forming` is not read here.
  scale(c.gradient, gradient, direction, chunk.length);
  for (std::int64_t age = 0; age < picture.history.count(); ++age) {
    const Pair pair = pairs_.load(chunk, picture.history.slot(age), buffer);
    const auto i = static_cast<std::size_t>(age);
    add_pair(c.s[i], pair.s, c.y[i], pair.y, direction, chunk.length);
  }
}

void Lbfgs::advance(const Part& chunk, float* x, const float* gradient) const {
  alignas(64) float direction[kChunk];
  const Picture& picture = at(chunk.n);
  const std::int64_t forming = picture.history.forming();
  combine(chunk, gradient, direction);
  float* previous = pairs_.previous(chunk);
  if (previous != nullptr) std::copy(x, x + chunk.length, previous);
  take_step(picture.length, direction, x, pairs_.forming_s(chunk, forming), x, chunk.length);
  std::copy(gradient, gradient + chunk.length, pairs_.forming_y(chunk, forming));
}

// Half the last step, or a first one, from the previous point, whose gradient the forming pair still has.
void Lbfgs::go_back(const Part& chunk, float* x) const {
  const Picture& picture = at(chunk.n);
  const std::int64_t forming = picture.history.forming();
  float* step = pairs_.forming_s(chunk, forming);
  const float* base = pairs_.previous(chunk);
  if (picture.outcome == Outcome::halved) {
    take_step(0.5F, step, base, step, x, chunk.length);
  } else {
    take_step(-picture.length, pairs_.forming_y(chunk, forming), base, step, x, chunk.length);
  }
}

}  // namespace stylogram::ops
