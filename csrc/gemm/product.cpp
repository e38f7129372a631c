#include "gemm/product.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "gemm/ahead.h"
#include "gemm/micro.h"
#include "parallel.h"
#include "scratch.h"
#include "simd.h"

namespace stylogram::gemm {
namespace {

constexpr std::int64_t kDepth = 512;              // of a block: its panel of `a` stays in the first cache
constexpr std::int64_t kBlockFloats = 64 * 1024;  // of a block of `b`: stays in the second cache
constexpr std::int64_t kMostColumns = 1024;
constexpr std::int64_t kMostParts = 32;
constexpr std::int64_t kLine = 16;                               // floats in a cache line
constexpr std::int64_t kStreamedFloats = std::int64_t{4} << 20;  // a result larger than this goes past the caches

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

// Rows k of b[:, :width] as panels of `panel` columns: (depth, panel) each, the last one filled with zeros. Row after
// row, as it lies in memory: the processor's prefetcher follows long rows, not a column of short pieces.
void pack_columns(const float* b, std::int64_t stride, std::int64_t depth, std::int64_t width, std::int64_t panel,
                  const float* scale, float* to) {
  for (std::int64_t k = 0; k < depth; ++k) {
    const float* from = b + k * stride;
    float* row = to + k * panel;
    for (std::int64_t j = 0; j < width; j += panel, row += depth * panel) {
      const std::int64_t columns = std::min(panel, width - j);
      if (columns < panel) std::fill(row + columns, row + panel, 0.0F);
      if (scale == nullptr) {
        std::memcpy(row, from + j, sizeof(float) * static_cast<std::size_t>(columns));
      } else {
        for (std::int64_t i = 0; i < columns; ++i) row[i] = from[j + i] * scale[j + i];
      }
    }
  }
}

// How one product is cut: the columns in blocks that the second cache holds, some blocks in a row to a part.
struct Plan {
  const Product& product;
  const MicroKernels& micro;
  Tiles tiles;
  std::int64_t shift = 0;  // floats from the cache line before `out` to its first column
  bool streams = false;
  std::int64_t width, blocks, blocks_in_part, parts;

  explicit Plan(const Product& p) : product(p), micro(micro_kernels()), tiles(p.rows, micro.outer_rows) {
    const std::int64_t panel = micro.outer_columns;
    width = std::min({kMostColumns, kBlockFloats / std::min(p.depth, kDepth), (p.columns + 31) / 32});
    width = std::max<std::int64_t>(1, (width + panel - 1) / panel) * panel;
    const bool many = p.batch * p.rows * p.columns >= kStreamedFloats;
    streams = many && !p.accumulate && p.depth <= kDepth && p.columns % kLine == 0;
    if (streams) shift = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p.out) / sizeof(float)) % kLine;
    blocks = (p.columns + shift + width - 1) / width;
    blocks_in_part = (blocks + kMostParts - 1) / kMostParts;
    parts = (blocks + blocks_in_part - 1) / blocks_in_part;
  }
  // The first block ends, and all others begin, on a cache line of `out` if it is streamed to.
  std::int64_t begin(std::int64_t block) const {
    return std::clamp<std::int64_t>(block * width - shift, 0, product.columns);
  }
};

// One block of columns of one picture.
struct Block {
  const Plan& plan;
  const float* panels_of_a;
  std::int64_t n, begin, width;
  Store store;

  float* out(std::int64_t row, std::int64_t column) const {
    return plan.product.out + (n * plan.product.rows + row) * plan.product.columns + begin + column;
  }
};

// A tile that reaches over the last column: computed aside, and only what exists is written.
void edge_tile(MicroKernels::Outer kernel, const float* a, const float* b, std::int64_t depth, std::int64_t rows,
               std::int64_t columns, std::int64_t panel, float* out, std::int64_t stride, bool add) {
  alignas(64) float aside[kMostOuterRows * 32];
  kernel(a, b, depth, aside, panel, Store::set);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[i * stride + j] = add ? out[i * stride + j] + aside[i * panel + j] : aside[i * panel + j];
    }
  }
}

void multiply_packed(const Block& block, const float* a, const float* b, std::int64_t depth, Store store,
                     Ahead& ahead) {
  const Tiles& tiles = block.plan.tiles;
  const std::int64_t panel = block.plan.micro.outer_columns;
  const std::int64_t stride = block.plan.product.columns;
  for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
    const std::int64_t row = tiles.begin(tile);
    const std::int64_t rows = tiles.begin(tile + 1) - row;
    const MicroKernels::Outer kernel = block.plan.micro.outer[rows];
    for (std::int64_t j = 0; j < block.width; j += panel) {
      const std::int64_t columns = block.width - j;
      if (columns >= panel) {
        kernel(a, b + j * depth, depth, block.out(row, j), stride, store);
      } else {
        edge_tile(kernel, a, b + j * depth, depth, rows, columns, panel, block.out(row, j), stride,
                  store == Store::add);
      }
      ahead.next();
    }
    a += rows * depth;
  }
}

void multiply_block(const Block& block, std::int64_t next_width) {
  thread_local Scratch<float> scratch;
  const Product& p = block.plan.product;
  const std::int64_t panel = block.plan.micro.outer_columns;
  const std::int64_t panels = (block.width + panel - 1) / panel;
  float* packed = scratch.get(static_cast<std::size_t>(std::min(p.depth, kDepth) * panels * panel));
  const float* scale = p.column_scale;
  if (scale != nullptr) scale += block.n * p.scale_stride + block.begin;
  const float* a = block.panels_of_a + block.n * p.rows * p.depth;
  for (std::int64_t k = 0; k < p.depth; k += kDepth) {
    const std::int64_t depth = std::min(kDepth, p.depth - k);
    const float* b = p.b + (block.n * p.depth + k) * p.columns + block.begin;
    pack_columns(b, p.columns, depth, block.width, panel, scale, packed);
    Ahead ahead(b + block.width, depth, next_width, p.columns, block.plan.tiles.count * panels);
    multiply_packed(block, a + k * p.rows, packed, depth, k > 0 ? Store::add : block.store, ahead);
  }
}

void multiply_part(const Plan& plan, const float* panels_of_a, std::int64_t n, std::int64_t part) {
  const std::int64_t first = part * plan.blocks_in_part;
  const std::int64_t last = std::min(plan.blocks, first + plan.blocks_in_part);
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t begin = plan.begin(i);
    const std::int64_t end = plan.begin(i + 1);
    const bool on_line = (begin + plan.shift) % kLine == 0;
    const Store set = plan.streams && on_line ? Store::stream : Store::set;
    const std::int64_t next = i + 1 < last ? plan.begin(i + 2) - end : 0;
    multiply_block({plan, panels_of_a, n, begin, end - begin, plan.product.accumulate ? Store::add : set}, next);
  }
  if (plan.streams) std::atomic_thread_fence(std::memory_order_seq_cst);  // streamed stores are ordered by nothing less
}

}  // namespace

void multiply(const Product& product) {
  thread_local Scratch<float> scratch;
  const Plan plan(product);
  const std::int64_t size = product.rows * product.depth;
  float* panels = scratch.get(static_cast<std::size_t>(product.batch * size));
  parallel_for(product.batch,
               [&](std::int64_t n) { pack_rows(product.a + n * size, product.depth, plan.tiles, panels + n * size); });
  parallel_for(product.batch * plan.parts,
               [&](std::int64_t part) { multiply_part(plan, panels, part / plan.parts, part % plan.parts); });
}

}  // namespace stylogram::gemm
