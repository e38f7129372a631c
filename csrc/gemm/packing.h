// Copies a block of a matrix to where a micro-kernel reads it, a few pieces at a time between the micro-kernel's calls:
// the memory works while the processor multiplies. A piece is two vectors of one row. Only a row or so is fetched
// before it is copied: rows are often a power of two apart, so that they fall on the same lines of the caches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gemm/micro.h"

namespace stylogram::gemm {

/// (rows, width) floats at `from`, `stride` floats apart. Row i's piece j goes to `to` + i row_stride + j piece_stride,
/// times `scale` (width) unless that is null; the last one is filled up with zeros.
struct PackedBlock {
  const float* from = nullptr;
  std::int64_t rows = 0, width = 0, stride = 0;
  const float* scale = nullptr;
  float* to = nullptr;
  std::int64_t row_stride = 0, piece_stride = 0;
};

class Packing {
 public:
  /// Packs `block` in `calls` calls of next, or fewer and one of finish.
  Packing(const MicroKernels& micro, const PackedBlock& block, std::int64_t calls)
      : block_(block),
        copy_(micro.copy),
        floats_(micro.outer_columns),
        pieces_((block.width + floats_ - 1) / floats_),
        each_((block.rows * pieces_ + calls - 1) / calls),
        rows_ahead_(std::max<std::int64_t>(1, kFloatsAhead / std::max<std::int64_t>(1, block.width))) {
    if (pieces_ == 0) row_ = block.rows;
  }

  void next() { run(each_); }
  void finish() { run(block_.rows * pieces_); }

 private:
  static constexpr std::int64_t kFloatsAhead = 512;  // fetched before they are copied, or one row if that is more

  void run(std::int64_t pieces) {
    while (pieces > 0 && row_ < block_.rows) {
      const std::int64_t count = std::min(pieces, pieces_ - piece_);
      copy(count);
      pieces -= count;
      piece_ += count;
      if (piece_ == pieces_) {
        piece_ = 0;
        ++row_;
      }
    }
  }

  // Pieces of the present row.
  void copy(std::int64_t count) {
    const std::int64_t column = piece_ * floats_;
    const float* from = block_.from + row_ * block_.stride + column;
    float* to = block_.to + row_ * block_.row_stride + piece_ * block_.piece_stride;
    const std::int64_t whole = block_.scale == nullptr ? std::min(count, block_.width / floats_ - piece_) : 0;
    const std::int64_t ahead = std::min(rows_ahead_, block_.rows - 1 - row_);
    if (whole > 0) copy_(from, from + ahead * block_.stride, whole, to, block_.piece_stride);
    for (std::int64_t done = std::max<std::int64_t>(0, whole); done < count; ++done) {
      copy_any(column + done * floats_, from + done * floats_, to + done * block_.piece_stride);
    }
  }

  void copy_any(std::int64_t column, const float* from, float* to) const {
    const std::int64_t length = std::min(floats_, block_.width - column);
    for (std::int64_t i = 0; i < length; ++i)
      to[i] = from[i] * (block_.scale == nullptr ? 1 : block_.scale[column + i]);
    std::fill(to + length, to + floats_, 0.0F);
  }

  PackedBlock block_;
  MicroKernels::Copy copy_;
  std::int64_t floats_, pieces_, each_, rows_ahead_;
  std::int64_t row_ = 0, piece_ = 0;  // what comes next
};

}  // namespace stylogram::gemm
