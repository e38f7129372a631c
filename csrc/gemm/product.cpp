#include "gemm/product.h"

#include <algorithm>
#include <cstring>

#include "gemm/micro.h"
#include "parallel.h"
#include "scratch.h"
#include "simd.h"

namespace stylogram::gemm {
namespace {

constexpr std::int64_t kDepth = 512;              // of a block: its panel of `a` stays in the first cache
constexpr std::int64_t kBlockFloats = 64 * 1024;  // of a block of `b`: stays in the second cache
constexpr std::int64_t kMostColumns = 1024;

// The rows cut into tiles as even as can be: 64 rows in tiles of at most 13 are 13+13+13+13+12, not 12 x 5 + 4.
struct Tiles {
  std::int64_t rows, count;
  Tiles(std::int64_t rows, std::int64_t most) : rows(rows), count((rows + most - 1) / most) {}
  std::int64_t begin(std::int64_t tile) const { return rows * tile / count; }
};

// a (rows, depth) as panels, tile by tile, within each depth block: (depth, rows of the tile).
void pack_rows(const float* a, std::int64_t depth, const Tiles& tiles, float* to) {
  for (std::int64_t k0 = 0; k0 < depth; k0 += kDepth) {
    const std::int64_t k1 = std::min(depth, k0 + kDepth);
    for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
      const std::int64_t end = tiles.begin(tile + 1);
      for (std::int64_t k = k0; k < k1; ++k) {
        for (std::int64_t i = tiles.begin(tile); i < end; ++i) *to++ = a[i * depth + k];
      }
    }
  }
}

// Rows k of b[:, :width] as panels of `panel` columns: (depth, panel) each, the last one filled with zeros.
void pack_columns(const float* b, std::int64_t stride, std::int64_t depth, std::int64_t width, std::int64_t panel,
                  const float* scale, float* to) {
  for (std::int64_t j = 0; j < width; j += panel, to += depth * panel) {
    const std::int64_t columns = std::min(panel, width - j);
    for (std::int64_t k = 0; k < depth; ++k) {
      const float* from = b + k * stride + j;
      float* row = to + k * panel;
      if (columns < panel) std::fill(row + columns, row + panel, 0.0F);
      if (scale == nullptr) {
        std::memcpy(row, from, sizeof(float) * static_cast<std::size_t>(columns));
      } else {
        for (std::int64_t i = 0; i < columns; ++i) row[i] = from[i] * scale[j + i];
      }
    }
  }
}

// One block of columns of one picture: everything that its part needs to know.
struct Block {
  const Product& product;
  const MicroKernels& micro;
  const Tiles& tiles;
  const float* panels_of_a;
  std::int64_t n, begin, width;

  float* out(std::int64_t row, std::int64_t column) const {
    return product.out + (n * product.rows + row) * product.columns + begin + column;
  }
};

// A tile that reaches over the last column: computed aside, and only what exists is written.
void edge_tile(MicroKernels::Outer kernel, const float* a, const float* b, std::int64_t depth, std::int64_t rows,
               std::int64_t columns, std::int64_t panel, float* out, std::int64_t stride, bool add) {
  alignas(64) float aside[kMostOuterRows * 32];
  kernel(a, b, depth, aside, panel, false);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[i * stride + j] = add ? out[i * stride + j] + aside[i * panel + j] : aside[i * panel + j];
    }
  }
}

void multiply_packed(const Block& block, const float* a, const float* b, std::int64_t depth, bool add) {
  const std::int64_t panel = block.micro.outer_columns;
  const std::int64_t stride = block.product.columns;
  for (std::int64_t tile = 0; tile < block.tiles.count; ++tile) {
    const std::int64_t row = block.tiles.begin(tile);
    const std::int64_t rows = block.tiles.begin(tile + 1) - row;
    const MicroKernels::Outer kernel = block.micro.outer[rows];
    for (std::int64_t j = 0; j < block.width; j += panel) {
      const std::int64_t columns = block.width - j;
      if (columns >= panel) {
        kernel(a, b + j * depth, depth, block.out(row, j), stride, add);
      } else {
        edge_tile(kernel, a, b + j * depth, depth, rows, columns, panel, block.out(row, j), stride, add);
      }
    }
    a += rows * depth;
  }
}

void multiply_block(const Block& block) {
  thread_local Scratch<float> scratch;
  const Product& p = block.product;
  const std::int64_t panel = block.micro.outer_columns;
  const std::int64_t padded = (block.width + panel - 1) / panel * panel;
  float* packed = scratch.get(static_cast<std::size_t>(std::min(p.depth, kDepth) * padded));
  const float* scale = p.column_scale;
  if (scale != nullptr) scale += block.n * p.scale_stride + block.begin;
  const float* a = block.panels_of_a + block.n * p.rows * p.depth;
  for (std::int64_t k = 0; k < p.depth; k += kDepth) {
    const std::int64_t depth = std::min(kDepth, p.depth - k);
    const float* b = p.b + (block.n * p.depth + k) * p.columns + block.begin;
    pack_columns(b, p.columns, depth, block.width, panel, scale, packed);
    multiply_packed(block, a + k * p.rows, packed, depth, p.accumulate || k > 0);
  }
}

// Columns in a block: as many as the second cache holds, but enough blocks for the threads of a large machine.
std::int64_t columns_of_block(const Product& p, std::int64_t panel) {
  std::int64_t columns = std::min(kMostColumns, kBlockFloats / std::min(p.depth, kDepth));
  columns = std::min(columns, (p.columns + 31) / 32);
  return std::max<std::int64_t>(1, (columns + panel - 1) / panel) * panel;
}

}  // namespace

void multiply(const Product& product) {
  thread_local Scratch<float> scratch;
  const MicroKernels& micro = micro_kernels();
  const Tiles tiles(product.rows, micro.outer_rows);
  const std::int64_t size = product.rows * product.depth;
  float* panels = scratch.get(static_cast<std::size_t>(product.batch * size));
  parallel_for(product.batch,
               [&](std::int64_t n) { pack_rows(product.a + n * size, product.depth, tiles, panels + n * size); });
  const std::int64_t width = columns_of_block(product, micro.outer_columns);
  const std::int64_t blocks = (product.columns + width - 1) / width;
  parallel_for(product.batch * blocks, [&](std::int64_t part) {
    const std::int64_t begin = part % blocks * width;
    multiply_block(
        {product, micro, tiles, panels, part / blocks, begin, std::min(width, product.columns - begin)});
  });
}

}  // namespace stylogram::gemm
