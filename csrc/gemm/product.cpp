#include "gemm/product.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "gemm/micro.h"
#include "gemm/packing.h"
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

// The rows of one tile of a (rows, depth) as panels (depth, rows of the tile), within each depth block of all tiles.
void pack_tile(const float* a, std::int64_t depth, const Tiles& tiles, std::int64_t tile, float* panels) {
  const std::int64_t begin = tiles.begin(tile);
  const std::int64_t end = tiles.begin(tile + 1);
  for (std::int64_t k0 = 0; k0 < depth; k0 += kDepth) {
    const std::int64_t k1 = std::min(depth, k0 + kDepth);
    float* to = panels + k0 * tiles.rows + begin * (k1 - k0);
    for (std::int64_t k = k0; k < k1; ++k) {
      for (std::int64_t i = begin; i < end; ++i) *to++ = a[i * depth + k];
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
  // Floats that the packed columns of a block take.
  std::int64_t most_packed() const {
    return width * std::min(product.depth, kDepth) + width / micro.outer_columns * kLine;
  }
};

// One block of one picture: some rows of b, and some columns.
struct Block {
  const Plan& plan;
  const float* panels_of_a;
  std::int64_t n, k, depth, begin, width;
  Store store;

  float* out(std::int64_t row, std::int64_t column) const {
    return plan.product.out + (n * plan.product.rows + row) * plan.product.columns + begin + column;
  }
  std::int64_t panels() const { return (width + plan.micro.outer_columns - 1) / plan.micro.outer_columns; }
  // A line more than a panel is long: panels would fall on the same lines of the cache.
  std::int64_t panel_stride() const { return depth * plan.micro.outer_columns + kLine; }

  PackedBlock packed(float* to) const {
    const Product& p = plan.product;
    const float* from = p.b + (n * p.depth + k) * p.columns + begin;
    const float* scale = p.column_scale == nullptr ? nullptr : p.column_scale + n * p.scale_stride + begin;
    return {from, depth, width, p.columns, scale, to, plan.micro.outer_columns, panel_stride()};
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

void multiply_packed(const Block& block, const float* b, Packing& next) {
  const Tiles& tiles = block.plan.tiles;
  const std::int64_t panel = block.plan.micro.outer_columns;
  const std::int64_t stride = block.plan.product.columns;
  const float* a = block.panels_of_a + block.n * tiles.rows * block.plan.product.depth + block.k * tiles.rows;
  for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
    const std::int64_t row = tiles.begin(tile);
    const std::int64_t rows = tiles.begin(tile + 1) - row;
    const MicroKernels::Outer kernel = block.plan.micro.outer[rows];
    const float* packed = b;
    for (std::int64_t j = 0; j < block.width; j += panel, packed += block.panel_stride()) {
      const std::int64_t columns = block.width - j;
      if (columns >= panel) {
        kernel(a, packed, block.depth, block.out(row, j), stride, block.store);
      } else {
        edge_tile(kernel, a, packed, block.depth, rows, columns, panel, block.out(row, j), stride,
                  block.store == Store::add);
      }
      next.next();
    }
    a += rows * block.depth;
  }
}

// The blocks of a part, one after the other: columns, and within them depths.
class Blocks {
 public:
  Blocks(const Plan& plan, const float* panels_of_a, std::int64_t n, std::int64_t part)
      : plan_(plan),
        panels_of_a_(panels_of_a),
        n_(n),
        block_(part * plan.blocks_in_part),
        last_(std::min(plan.blocks, block_ + plan.blocks_in_part)) {}

  bool done() const { return block_ >= last_; }
  Block get() const {
    const Product& p = plan_.product;
    const std::int64_t begin = plan_.begin(block_);
    const bool on_line = (begin + plan_.shift) % kLine == 0;
    const Store set = p.accumulate || k_ > 0 ? Store::add : plan_.streams && on_line ? Store::stream : Store::set;
    return {plan_, panels_of_a_, n_, k_, std::min(kDepth, p.depth - k_), begin, plan_.begin(block_ + 1) - begin, set};
  }
  void advance() {
    k_ += kDepth;
    if (k_ < plan_.product.depth) return;
    k_ = 0;
    ++block_;
  }

 private:
  const Plan& plan_;
  const float* panels_of_a_;
  std::int64_t n_, block_, last_;
  std::int64_t k_ = 0;
};

void multiply_part(const Plan& plan, const float* panels_of_a, std::int64_t n, std::int64_t part) {
  thread_local Scratch<float> scratch;
  const std::int64_t most = plan.most_packed();
  float* now = scratch.get(static_cast<std::size_t>(2 * most));
  float* then = now + most;
  Blocks blocks(plan, panels_of_a, n, part);
  Packing(plan.micro, blocks.get().packed(now), 1).finish();
  while (!blocks.done()) {
    const Block block = blocks.get();
    blocks.advance();
    Packing next(plan.micro, blocks.done() ? PackedBlock{} : blocks.get().packed(then),
                 plan.tiles.count * block.panels());
    multiply_packed(block, now, next);
    next.finish();
    std::swap(now, then);
  }
  if (plan.streams) std::atomic_thread_fence(std::memory_order_seq_cst);  // streamed stores are ordered by nothing less
}

}  // namespace

void multiply(const Product& product) {
  thread_local Scratch<float> scratch;
  const Plan plan(product);
  const std::int64_t size = product.rows * product.depth;
  float* panels = scratch.get(static_cast<std::size_t>(product.batch * size));
  parallel_for(product.batch * plan.tiles.count, [&](std::int64_t part) {
    const std::int64_t at = part / plan.tiles.count * size;
    pack_tile(product.a + at, product.depth, plan.tiles, part % plan.tiles.count, panels + at);
  });
  parallel_for(product.batch * plan.parts,
               [&](std::int64_t part) { multiply_part(plan, panels, part / plan.parts, part % plan.parts); });
}

}  // namespace stylogram::gemm
