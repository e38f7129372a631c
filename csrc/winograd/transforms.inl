// Included by kernels.cpp once for each instruction set; see kernels.h. No include guard.
//
// The points are 0, ±2/3, ±3/2 and infinity. Rounding errors are about twice those of the direct sum in float32; the
// usual points 0, ±1, ±2 give five times. (Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the
// accuracy of Winograd convolution", 2020; the matrices follow from the points as in Lavin and Gray 2016.)

#include "winograd/vectors.inl"

constexpr float kA = 2.0F / 3;
constexpr float kB = 3.0F / 2;
constexpr float kA2 = 4.0F / 9;
constexpr float kB2 = 9.0F / 4;
constexpr float kSum = 97.0F / 36;  // a² + b²; the product a² b² is 1

struct Six {
  Vector v[6];
};

// Bᵀ d: the input at the points.
STYLOGRAM_TARGET static inline Six at_points(const Six& d) {
  const Vector even_a = d.v[4] - kB2 * d.v[2];
  const Vector odd_a = kA * d.v[3] - kB * d.v[1];  // a b² = b, since a b = 1
  const Vector even_b = d.v[4] - kA2 * d.v[2];
  const Vector odd_b = kB * d.v[3] - kA * d.v[1];
  return {{d.v[0] - kSum * d.v[2] + d.v[4], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b,
           d.v[1] - kSum * d.v[3] + d.v[5]}};
}

// G g: the filter at the points.
STYLOGRAM_TARGET static inline Six filter_at_points(Vector g0, Vector g1, Vector g2) {
  constexpr float na = 1 / (2 * kA2 * (kA2 - kB2));
  constexpr float nb = 1 / (2 * kB2 * (kB2 - kA2));
  const Vector even_a = na * (g0 + kA2 * g2);
  const Vector odd_a = (na * kA) * g1;
  const Vector even_b = nb * (g0 + kB2 * g2);
  const Vector odd_b = (nb * kB) * g1;
  return {{g0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2}};
}

struct Four {
  Vector v[4];
};

// Aᵀ m: the sum's values back to outputs.
STYLOGRAM_TARGET static inline Four outputs(const Six& m) {
  const Vector even_a = m.v[1] + m.v[2];
  const Vector odd_a = m.v[1] - m.v[2];
  const Vector even_b = m.v[3] + m.v[4];
  const Vector odd_b = m.v[3] - m.v[4];
  return {{m.v[0] + even_a + even_b, kA * odd_a + kB * odd_b, kA2 * even_a + kB2 * even_b,
           (kA * kA2) * odd_a + (kB * kB2) * odd_b + m.v[5]}};
}

// Which lanes of the five vectors of a row lie within it.
struct RowMasks {
  Mask full[5];
  Mask half[5];  // of the vector of spread pixels behind each
};

// The same place of the next channel, into the cache. A channel's rows are too short, and the way from one channel to
// the next too long, for the processor's own prefetching.
STYLOGRAM_TARGET static inline void look_ahead(const void* next) { __builtin_prefetch(next, 0, 2); }

// L pixels of a row, from `left` on.
template <Spread How, bool Extra>
STYLOGRAM_TARGET static inline Vector pixels(const Channel& c, std::int64_t row, std::int64_t left, Mask full,
                                             Mask half) {
  Vector value;
  if constexpr (How == Spread::none) {
    const float* from = c.x + row * c.width + left;
    value = load(from, full);
    if (c.ahead != 0) look_ahead(from + c.height * c.width);
  } else {
    const std::int64_t at = (row >> 1) * (c.width / 2) + (left >> 1);
    if (c.ahead != 0) look_ahead(c.x + at + (c.height / 2) * (c.width / 2));
    const bool once = (left & 1) != 0;
    value = twice(load(c.x + at, half), once);
    if constexpr (How == Spread::average) {
      value *= 0.25F;
    } else {
      const Ints turns = {STYLOGRAM_BY_TURNS};
      const Ints column = once ? 1 - turns : turns;
      const int base = (How == Spread::positive ? 4 : 0) + 2 * static_cast<int>(row & 1);
      Ints where = twice(load_bytes(c.where + at, half), once);
      if constexpr (How == Spread::first) where &= 3;
      value = where == column + base ? value : Vector{};
    }
  }
  if constexpr (Extra) {
    const std::int64_t at = row * c.width + left;
    const std::int64_t next = at + c.ahead * c.height * c.width;
    if (c.add != nullptr) {
      value += load(c.add + at, full);
      look_ahead(c.add + next);
    }
    if (c.rectify) value = positive(value);
    if (c.mask != nullptr) {
      value = load(c.mask + at, full) > 0 ? value : Vector{};
      look_ahead(c.mask + next);
    }
  }
  return value;
}

// One row at the points of the x axis.
template <Spread How, bool Extra>
STYLOGRAM_TARGET static inline Six row_at_points(const Channel& c, std::int64_t row, std::int64_t left,
                                                 const RowMasks& masks) {
  const std::int64_t rows = How == Spread::none ? c.height : c.height + (Extra ? 0 : -(c.height & 1));
  if (row < 0 || row >= rows) return {};
  Vector v[5];
#pragma GCC unroll 5
  for (int j = 0; j < 5; ++j) {
    // Of an odd height the last row has no window; what is added to it counts all the same.
    const bool windowless = How != Spread::none && Extra && row == (c.height & ~std::int64_t{1});
    const Mask half = windowless ? lanes(0, 0) : masks.half[j];
    v[j] = pixels<How, Extra>(c, row, left + j * kLanes, masks.full[j], half);
  }
  const Vector even_low = even(v[0], v[1]);
  const Vector odd_low = odd(v[0], v[1]);
  const Vector even_high = even(v[2], v[3]);
  const Vector odd_high = odd(v[2], v[3]);
  const Vector first = even(even_low, even_high);
  const Vector second = even(odd_low, odd_high);
  return at_points({{first, second, odd(even_low, even_high), odd(odd_low, odd_high), after(first, v[4]),
                     after_second(second, v[4])}});
}

STYLOGRAM_TARGET static inline RowMasks row_masks(const Channel& c, std::int64_t left) {
  RowMasks masks;
  for (int j = 0; j < 5; ++j) {
    const std::int64_t at = left + j * kLanes;
    const std::int64_t pixels = j < 4 ? kLanes : 2;  // the fifth vector has the two pixels behind the last tile
    masks.full[j] = lanes(-at, at + pixels > c.width ? c.width - at : pixels);
    const std::int64_t half = at >> 1;
    const std::int64_t wanted = j < 4 ? kLanes / 2 + 1 : 2;
    masks.half[j] = lanes(-half, half + wanted > c.width / 2 ? c.width / 2 - half : wanted);
  }
  return masks;
}

template <Spread How, bool Extra>
STYLOGRAM_TARGET static void input_as(const Channel& c, const Segment& s, const Transformed& to) {
  const RowMasks masks = row_masks(c, s.left);
  Six rows[6];
  for (int i = 0; i < 6; ++i) rows[i] = row_at_points<How, Extra>(c, s.top + i, s.left, masks);
  const bool whole = to.first >= kLanes;
  const Mask here = lanes(0, s.count < to.first ? s.count : to.first);
  const Mask there = lanes(to.first, s.count);
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    const Six column =
        at_points({{rows[0].v[j], rows[1].v[j], rows[2].v[j], rows[3].v[j], rows[4].v[j], rows[5].v[j]}});
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      float* out = to.out + (i * 6 + j) * to.stride;
      if (whole) {
        store(out, column.v[i]);
      } else {
        store(out, column.v[i], here);
        if (s.count > to.first) store(to.next + (i * 6 + j) * to.stride - to.first, column.v[i], there);
      }
    }
  }
}

template <Spread How>
STYLOGRAM_TARGET static void input_spread(const Channel& c, const Segment& s, const Transformed& to) {
  const bool extra = c.add != nullptr || c.mask != nullptr || c.rectify;
  extra ? input_as<How, true>(c, s, to) : input_as<How, false>(c, s, to);
}

STYLOGRAM_TARGET static void input(const Channel& c, const Segment& s, const Transformed& to) {
  switch (c.spread) {
    case Spread::none:
      return input_spread<Spread::none>(c, s, to);
    case Spread::average:
      return input_spread<Spread::average>(c, s, to);
    case Spread::first:
      return input_spread<Spread::first>(c, s, to);
    case Spread::positive:
      return input_spread<Spread::positive>(c, s, to);
  }
}

STYLOGRAM_TARGET static void weights(const float* g, std::int64_t depth, int rows, float* out, std::int64_t stride) {
  constexpr std::int64_t kAhead = 4;  // channels: nine strands with gaps are more than the processor foresees
  const Mask mask = lanes(0, rows);
  for (std::int64_t c = 0; c < depth; ++c, g += kFilters, out += rows) {
    Six columns[3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      const float* tap = g + j * depth * kFilters;
      const std::int64_t row = 3 * depth * kFilters;
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const float* later = tap + i * row + kAhead * kFilters;
        look_ahead(later);
        look_ahead(later + rows - 1);
      }
      columns[j] = filter_at_points(load(tap, mask), load(tap + row, mask), load(tap + 2 * row, mask));
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const Six line = filter_at_points(columns[0].v[i], columns[1].v[i], columns[2].v[i]);
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) store(out + (i * 6 + j) * stride, line.v[j]);
    }
  }
}

// Four vectors, of which each has one pixel of every tile, as a row.
STYLOGRAM_TARGET static inline void store_row(float* to, const Four& o, const Mask* masks) {
  const Vector even_low = zip_low(o.v[0], o.v[2]);
  const Vector odd_low = zip_low(o.v[1], o.v[3]);
  const Vector even_high = zip_high(o.v[0], o.v[2]);
  const Vector odd_high = zip_high(o.v[1], o.v[3]);
  store(to, zip_low(even_low, odd_low), masks[0]);
  store(to + kLanes, zip_high(even_low, odd_low), masks[1]);
  store(to + 2 * kLanes, zip_low(even_high, odd_high), masks[2]);
  store(to + 3 * kLanes, zip_high(even_high, odd_high), masks[3]);
}

struct Pooled {
  Vector value;
  Ints where;
};

STYLOGRAM_TARGET static inline void take_larger(Pooled& most, Vector value, int place) {
  const Ints larger = value > most.value;
  most.value = larger ? value : most.value;
  most.where = larger ? Ints{} + place : most.where;
}

// One window of each tile: two pixels of an upper row and two of a lower.
STYLOGRAM_TARGET static inline Pooled window(Vector a, Vector b, Vector c, Vector d, Pool pool) {
  if (pool == Pool::average) return {0.25F * ((a + b) + (c + d)), Ints{}};
  Pooled most = {a, Ints{}};
  take_larger(most, b, 1);
  take_larger(most, c, 2);
  take_larger(most, d, 3);
  most.where += (most.value > 0) & 4;
  return most;
}

STYLOGRAM_TARGET static inline void store_pooled(const Result& to, const Segment& s, const Four* rows) {
  const std::int64_t height = to.height / 2;
  const std::int64_t width = to.width / 2;
  const std::int64_t left = s.left / 2;
  const std::int64_t end = width - left < 2 * s.count ? width - left : 2 * s.count;
  const Mask low = lanes(0, end);
  const Mask high = lanes(0, end - kLanes);
  for (int half = 0; half < 2; ++half) {
    const std::int64_t row = s.top / 2 + half;
    if (row >= height) return;
    const Four& a = rows[2 * half];
    const Four& b = rows[2 * half + 1];
    const Pooled first = window(a.v[0], a.v[1], b.v[0], b.v[1], to.pool);
    const Pooled second = window(a.v[2], a.v[3], b.v[2], b.v[3], to.pool);
    const std::int64_t at = row * width + left;
    store(to.pooled + at, zip_low(first.value, second.value), low);
    store(to.pooled + at + kLanes, zip_high(first.value, second.value), high);
    if (to.where == nullptr) continue;
    store_bytes(to.where + at, zip_low(first.where, second.where), low);
    store_bytes(to.where + at + kLanes, zip_high(first.where, second.where), high);
  }
}

STYLOGRAM_TARGET static void output(const float* sums, std::int64_t stride, const Segment& s, const Result& to) {
  Six columns[4];
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    Six m;
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) m.v[i] = load(sums + (i * 6 + j) * stride);
    const Four column = outputs(m);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) columns[i].v[j] = column.v[i];
  }
  Four rows[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i] = outputs(columns[i]);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      rows[i].v[j] += to.bias;
      if (to.rectify) rows[i].v[j] = positive(rows[i].v[j]);
    }
  }
  if (to.pooled != nullptr) store_pooled(to, s, rows);
  if (to.y == nullptr) return;
  const std::int64_t end = to.width - s.left < kTile * s.count ? to.width - s.left : kTile * s.count;
  const Mask masks[4] = {lanes(0, end), lanes(0, end - kLanes), lanes(0, end - 2 * kLanes), lanes(0, end - 3 * kLanes)};
  for (int i = 0; i < 4 && s.top + i < to.height; ++i) {
    store_row(to.y + (s.top + i) * to.width + s.left, rows[i], masks);
  }
}

static const Kernels table = {STYLOGRAM_LANES, input, weights, output};

#undef STYLOGRAM_BY_TURNS
