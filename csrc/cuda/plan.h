// How the kernels cut their work: the same numbers for the host that launches and the device that computes. They follow
// from the sizes of one picture alone, so that a batch gives each picture what it gets alone, to the bit, on any GPU.
#pragma once

#include <cstdint>

#include "cuda/host_device.h"

namespace stylogram::cuda {

STYLOGRAM_HD constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
STYLOGRAM_HD constexpr std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
STYLOGRAM_HD constexpr std::int64_t most(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

/// The cut of `size` elements into `count` slices of `length`, a multiple of `unit`; the last may be shorter.
struct Cut {
  std::int64_t size, length, count;

  STYLOGRAM_HD constexpr Cut(std::int64_t size, std::int64_t smallest, std::int64_t largest_count, std::int64_t unit)
      : size(size),
        length(ceil_div(most(smallest, ceil_div(size, largest_count)), unit) * unit),
        count(ceil_div(size, length)) {}
  STYLOGRAM_HD constexpr std::int64_t begin(std::int64_t slice) const { return slice * length; }
  STYLOGRAM_HD constexpr std::int64_t end(std::int64_t slice) const { return least(size, (slice + 1) * length); }
};

constexpr unsigned kThreads = 256;  // of a block of the streaming kernels

/// Of a kernel that streams over a picture of `size` numbers: 4 for each thread, more where 2048 blocks are not enough.
STYLOGRAM_HD constexpr Cut streaming(std::int64_t size) { return Cut(size, 4 * kThreads, 2048, 4 * kThreads); }

/// The blocks (row, column) of the lower half of a symmetric matrix, numbered row by row.
struct Half {
  STYLOGRAM_HD static constexpr std::int64_t count(std::int64_t blocks) { return blocks * (blocks + 1) / 2; }
  STYLOGRAM_HD static constexpr std::int64_t row(std::int64_t number) {
    std::int64_t r = 0;
    while (count(r + 1) <= number) ++r;
    return r;
  }
  STYLOGRAM_HD static constexpr std::int64_t column(std::int64_t number) { return number - count(row(number)); }
};

/// The Gram matrix of (C, P): blocks of kTile x kTile of its lower half, the positions split among several blocks.
struct GramPlan {
  static constexpr int kTile = 64;
  static constexpr int kDepth = 32;  // positions of a stage in shared memory
  static constexpr std::int64_t kBlocks = 512;
  std::int64_t tiles;  // of the lower half
  Cut positions;       // `count` splits

  STYLOGRAM_HD constexpr GramPlan(std::int64_t c, std::int64_t p)
      : tiles(Half::count(ceil_div(c, kTile))), positions(p, 4 * kDepth, most(1, kBlocks / tiles), kDepth) {}
  STYLOGRAM_HD constexpr std::int64_t partials() const { return tiles * positions.count * kTile * kTile; }
};

}  // namespace stylogram::cuda
