#include "gemm/symmetric.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gemm/ahead.h"
#include "gemm/micro.h"
#include "parallel.h"
#include "scratch.h"
#include "simd.h"
#include "slices.h"

namespace stylogram::gemm {
namespace {

constexpr std::int64_t kDepth = 512;  // columns of F that are packed at a time
constexpr std::int64_t kBand = 12;    // tile rows that stay in the second cache while the other side passes by
constexpr std::int64_t kMostSlices = 16;
constexpr std::int64_t kSumFloats = std::int64_t{4} << 20;  // that the slices' sums may take together
constexpr std::int64_t kMirrored = 16;                      // rows and columns of a square
constexpr std::int64_t kGroupRows = 128;
constexpr std::int64_t kFewSlices = 8;    // with fewer, the tile rows are cut into groups too, to have parts enough
constexpr std::int64_t kRowsAhead = 256;  // of the next columns that the second cache can take besides this band

// The lower triangle of tiles, row after row: tile (i, j), j <= i, is number i (i + 1) / 2 + j.
std::int64_t tile_number(std::int64_t i, std::int64_t j) { return i * (i + 1) / 2 + j; }

// How one product is cut. A part computes the tile rows of one group over one slice of the columns; the slices' sums
// are added up afterwards, in order.
struct Plan {
  const Symmetric& product;
  const MicroKernels& micro;
  std::int64_t tile_rows, tiles;
  Slices slices;
  std::int64_t groups;

  Plan(const Symmetric& product, const MicroKernels& micro)
      : product(product),
        micro(micro),
        tile_rows((product.rows + micro.dot_rows - 1) / micro.dot_rows),
        tiles(tile_number(tile_rows, 0)),
        slices(product.columns, kDepth, std::clamp<std::int64_t>(kSumFloats / floats(), 1, kMostSlices), kDepth),
        groups(std::min((product.rows + kGroupRows - 1) / kGroupRows, (kFewSlices + slices.count - 1) / slices.count)) {
  }

  // Groups of about the same number of tiles: the triangle's rows grow.
  std::int64_t group_begin(std::int64_t group) const {
    const double share = std::sqrt(static_cast<double>(group) / static_cast<double>(groups));
    return group == groups ? tile_rows : static_cast<std::int64_t>(share * static_cast<double>(tile_rows));
  }
  std::int64_t floats() const { return tiles * micro.dot_tile; }
};

// Columns [begin, begin + width) of the first rows of F, times root, as rows of `stride` floats, filled up with zeros.
void pack(const Plan& plan, std::int64_t n, std::int64_t rows, std::int64_t begin, std::int64_t width,
          std::int64_t padded, std::int64_t stride, float* to) {
  const Symmetric& p = plan.product;
  const float* root = p.root == nullptr ? nullptr : p.root + n * p.root_stride + begin;
  for (std::int64_t row = 0; row < rows; ++row, to += stride) {
    if (row >= p.rows) {
      std::fill(to, to + padded, 0.0F);
      continue;
    }
    const float* from = p.f + (n * p.rows + row) * p.columns + begin;
    if (root == nullptr) {
      std::memcpy(to, from, sizeof(float) * static_cast<std::size_t>(width));
    } else {
      for (std::int64_t i = 0; i < width; ++i) to[i] = from[i] * root[i];
    }
    std::fill(to + width, to + padded, 0.0F);
  }
}

// All tiles of the tile rows [first, last): a band of rows stays in the cache, the columns' rows pass by it.
void multiply_packed(const Plan& plan, std::int64_t first, std::int64_t last, const float* packed, std::int64_t depth,
                     std::int64_t stride, float* sums, Ahead ahead) {
  const std::int64_t step = plan.micro.dot_rows * stride;
  for (std::int64_t band = first; band < last; band += kBand) {
    const std::int64_t end = std::min(last, band + kBand);
    for (std::int64_t j = 0; j < end; ++j) {
      for (std::int64_t i = std::max(band, j); i < end; ++i) {
        float* tile = sums + tile_number(i, j) * plan.micro.dot_tile;
        plan.micro.dot(packed + i * step, packed + j * step, depth, stride, tile);
        ahead.next();
      }
    }
  }
}

void multiply_part(const Plan& plan, std::int64_t n, std::int64_t slice, std::int64_t group, float* sums) {
  thread_local Scratch<float> scratch;
  const std::int64_t stride = kDepth + 16;  // not a power of two: rows would fall on the same lines of the cache
  const std::int64_t first = plan.group_begin(group);
  const std::int64_t last = plan.group_begin(group + 1);
  const std::int64_t rows = last * plan.micro.dot_rows;
  float* packed = scratch.get(static_cast<std::size_t>(rows * stride));
  const std::int64_t from = tile_number(first, 0) * plan.micro.dot_tile;
  const std::int64_t to = tile_number(last, 0) * plan.micro.dot_tile;
  std::fill(sums + from, sums + to, 0.0F);
  const std::int64_t tiles = tile_number(last, 0) - tile_number(first, 0);
  for (std::int64_t begin = plan.slices.begin(slice); begin < plan.slices.end(slice); begin += kDepth) {
    const std::int64_t width = std::min(kDepth, plan.slices.end(slice) - begin);
    const std::int64_t padded = (width + plan.micro.lanes - 1) / plan.micro.lanes * plan.micro.lanes;
    pack(plan, n, rows, begin, width, padded, stride, packed);
    const std::int64_t next = std::min(kDepth, plan.slices.end(slice) - begin - width);
    const float* from = plan.product.f + n * plan.product.rows * plan.product.columns + begin + width;
    const bool fits = rows <= kRowsAhead;
    const Ahead ahead(from, std::min(rows, plan.product.rows), fits ? next : 0, plan.product.columns, tiles);
    multiply_packed(plan, first, last, packed, padded, stride, sums, ahead);
  }
}

// to[i] = (sums[i] + sums[i + stride] + ...) / divisor, in double, in the order of the slices.
void sum_slices(const float* sums, std::int64_t slices, std::int64_t stride, std::int64_t count, double divisor,
                float* to) {
  constexpr std::int64_t chunk = 64;
  simd::run([=]() STYLOGRAM_INLINE {
    for (std::int64_t begin = 0; begin < count; begin += chunk) {
      const std::int64_t length = std::min(chunk, count - begin);
      double totals[chunk] = {};
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        const float* from = sums + slice * stride + begin;
#pragma omp simd
        for (std::int64_t i = 0; i < length; ++i) totals[i] += static_cast<double>(from[i]);
      }
#pragma omp simd
      for (std::int64_t i = 0; i < length; ++i) to[begin + i] = static_cast<float>(totals[i] / divisor);
    }
  });
}

// One tile row, from the slices' sums into the lower triangle.
void finish_row(const Plan& plan, std::int64_t n, std::int64_t i, const float* sums) {
  thread_local Scratch<float> scratch;
  const std::int64_t side = plan.micro.dot_rows;
  const std::int64_t rows = plan.product.rows;
  const std::int64_t count = (i + 1) * plan.micro.dot_tile;
  float* tiles = scratch.get(static_cast<std::size_t>(count));
  sum_slices(sums + tile_number(i, 0) * plan.micro.dot_tile, plan.slices.count, plan.floats(), count,
             plan.product.divisor[n], tiles);
  for (std::int64_t row = i * side; row < std::min(rows, (i + 1) * side); ++row) {
    float* to = plan.product.out + (n * rows + row) * rows;
    const float* from = tiles + (row - i * side) * side;
    for (std::int64_t j = 0; j <= i; ++j, from += plan.micro.dot_tile, to += side) {
      std::copy(from, from + std::min(side, row + 1 - j * side), to);
    }
  }
}

// Columns [begin, begin + kMirrored) of the lower triangle into those rows of the upper, a square at a time: a whole
// column lies on few lines of the caches.
void mirror(float* out, std::int64_t rows, std::int64_t begin) {
  const std::int64_t end = std::min(rows, begin + kMirrored);
  for (std::int64_t square = begin; square < rows; square += kMirrored) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = std::max(square, i + 1); j < std::min(rows, square + kMirrored); ++j) {
        out[i * rows + j] = out[j * rows + i];
      }
    }
  }
}

}  // namespace

void multiply_by_transpose(const Symmetric& product) {
  thread_local Scratch<float> scratch;
  const Plan plan(product, micro_kernels());
  const std::int64_t slices = plan.slices.count;
  const std::int64_t parts = slices * plan.groups;
  float* sums = scratch.get(static_cast<std::size_t>(product.batch * slices * plan.floats()));
  parallel_for(product.batch * parts, [&](std::int64_t part) {
    const std::int64_t place = part / plan.groups;  // picture and slice
    multiply_part(plan, place / slices, place % slices, part % plan.groups, sums + place * plan.floats());
  });
  parallel_for(product.batch * plan.tile_rows, [&](std::int64_t part) {
    const std::int64_t n = part / plan.tile_rows;
    finish_row(plan, n, part % plan.tile_rows, sums + n * slices * plan.floats());
  });
  const std::int64_t bands = (product.rows + kMirrored - 1) / kMirrored;
  parallel_for(product.batch * bands, [&](std::int64_t part) {
    mirror(product.out + part / bands * product.rows * product.rows, product.rows, part % bands * kMirrored);
  });
}

}  // namespace stylogram::gemm
