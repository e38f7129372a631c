// The transforms of Winograd's convolution F(4x4, 3x3), compiled once for each instruction set.
//
// Vectors run over neighbouring tiles of one channel, not over channels: pictures stay in ONNX's own layout (N,C,H,W)
// and have any number of channels. A row of 4 L pixels is taken apart in registers into L tiles, and put together
// again.
#pragma once

#include <cstdint>

namespace stylogram::winograd {

constexpr int kTile = 4;     // outputs of a tile along each axis
constexpr int kPoints = 36;  // products of a tile: (4 + 3 - 1)²
constexpr int kMostLanes = 16;
constexpr int kFilters = 64;  // whose weights stand together: (blocks, 3, 3, channels, 64), the last filled with zeros

/// What stands between a convolution and the tensor that it reads.
enum class Spread { none, average, first, positive };

/// One channel of the input, (height, width). The pixels are  ([add +] spread(x))  where mask > 0, elsewhere 0.
struct Channel {
  const float* x;             // (height, width), or (height / 2, width / 2) if spread
  const std::uint8_t* where;  // of x's size: place of the maximum in its window of 2x2, + 4 where it is above 0
  const float* add;           // (height, width), may be null
  const float* mask;          // (height, width), may be null
  std::int64_t height, width;
  Spread spread;
  bool rectify;        // negative sums become 0
  std::int64_t ahead;  // 1: brings the next channel into the cache meanwhile; 0: there is none
};

/// Neighbouring tiles of one row of tiles, at most a vector of them.
struct Segment {
  std::int64_t top, left;  // first pixel that the first tile reads; may lie outside
  std::int64_t count;      // tiles
};

/// Where the 36 vectors of a segment go: point p of tile t to out[p * stride + t], for t < first;
/// to next[p * stride + t - first] from there on.
struct Transformed {
  float* out;
  float* next;
  std::int64_t stride, first;
};

enum class Pool { none, max, average };

/// One channel of the output: y = [max(0,] sums + bias [)], (height, width), and its pool of 2x2 windows.
struct Result {
  float* y;             // may be null
  float* pooled;        // (height / 2, width / 2); null: none
  std::uint8_t* where;  // of pooled's size, as in Channel; may be null
  std::int64_t height, width;
  float bias;
  bool rectify;
  Pool pool;
};

struct Kernels {
  int lanes;
  /// Input: Bᵀ d B of each tile of the segment.
  void (*input)(const Channel& channel, const Segment& segment, const Transformed& to);
  /// Weights: G g Gᵀ of `rows` <= lanes filters in `depth` channels. g: (3, 3, depth, 64), from the first of the rows
  /// on; point p goes to out + p * stride, (depth, rows), and up to `lanes` floats behind are overwritten.
  void (*weights)(const float* g, std::int64_t depth, int rows, float* out, std::int64_t stride);
  /// Output: Aᵀ m A of a segment whose `top` and `left` are those of its outputs. Point p is at sums + p * stride.
  void (*output)(const float* sums, std::int64_t stride, const Segment& segment, const Result& to);
};

/// Those of the level in use.
const Kernels& kernels();

}  // namespace stylogram::winograd
