// The innermost loops of the two products, compiled once for each instruction set.
//
// outer: out[i, j] (+)= sum_k a[k, i] b[k, j], for panels in which k is the slow index: a product whose k is short and
//        whose columns are many, (G - A) F.
// dot:   tile[i, j] += sum_k a[i, k] b[j, k], for rows along k: F F^T, whose k (the positions) is long. No panel needs
//        transposing, and each accumulator lane adds few terms, so the sum is more accurate than a running one.
#pragma once

#include <cstdint>

namespace stylogram::gemm {

constexpr int kMostOuterRows = 14;

/// What becomes of the numbers that are there. `stream` sets them past the caches, which reads nothing: for results
/// that the caches cannot hold anyway; each row must begin on a cache line.
enum class Store { set, add, stream };

struct MicroKernels {
  /// a: (k, rows), b: (k, columns), out: (rows, columns) with `stride` floats a row; `rows` is the table's index.
  using Outer = void (*)(const float* a, const float* b, std::int64_t k, float* out, std::int64_t stride, Store store);
  /// a, b: (dot_rows, k) with `stride` floats a row, k a multiple of `lanes`; tile: as dot_offset says, added to.
  using Dot = void (*)(const float* a, const float* b, std::int64_t k, std::int64_t stride, float* tile);

  /// `pieces` of two vectors each, one after the other at `from`, to places `stride` floats apart; those at `ahead` are
  /// fetched meanwhile.
  using Copy = void (*)(const float* from, const float* ahead, std::int64_t pieces, float* to, std::int64_t stride);

  int lanes;          // floats in a vector
  int outer_rows;     // the most rows of an outer tile
  int outer_columns;  // its columns: two vectors
  int dot_rows;       // rows and columns of a dot tile
  int dot_tile;       // floats that a dot tile takes: dot_rows², rounded up to groups of four
  Outer outer[kMostOuterRows + 1];
  Dot dot;
  Copy copy;
};

/// Those of the level in use.
const MicroKernels& micro_kernels();

}  // namespace stylogram::gemm
