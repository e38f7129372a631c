// The products of the Gram loss: F F^T of a few rows and very many positions, and D F with as many columns.
#pragma once

#include "cuda/mma.h"
#include "cuda/number.h"
#include "cuda/plan.h"

namespace stylogram::cuda {

/// Numbers behind a row of shared memory, 16 bytes: a warp's reads then fall into 32 banks.
template <class T>
constexpr int kPad = 16 / static_cast<int>(sizeof(T));

/// sums += what `multiply` adds to zeros: tensor cores cut their sums off, short ones least.
template <class Multiply>
__device__ __forceinline__ void add_apart(float (&sums)[2][4][4], const Multiply& multiply) {
  float chunk[2][4][4] = {};
  multiply(chunk);
#pragma unroll
  for (int e = 0; e < 32; ++e) sums[e / 16][e % 16 / 4][e % 4] += chunk[e / 16][e % 16 / 4][e % 4];
}

/// sums += the chunk's product.
template <class M, int Depth, class Left, class Right>
__device__ __forceinline__ void add_chunk(float (&sums)[2][4][4], const Left& left, const Right& right) {
  if constexpr (M::kPromotes) {
    add_apart(sums, [&](float (&chunk)[2][4][4]) { warp_multiply<M, Depth>(chunk, left, right); });
  } else {
    warp_multiply<M, Depth>(sums, left, right);
  }
}

/// A part of a matrix (rows, columns), row by row in memory: `Height` x `Width` from (row, column), beyond its edges
/// zeros, to rows of shared memory `Row` apart, by `Threads` threads. Line r goes to `line(r)`.
template <int Threads, int Height, int Width, int Row, bool Wide, class T, class Line>
__device__ __forceinline__ void load_block(T* to, const T* from, std::int64_t stride, std::int64_t rows,
                                           std::int64_t columns, std::int64_t row, std::int64_t column,
                                           const Line& line) {
  constexpr int width = Wide ? 16 / static_cast<int>(sizeof(T)) : 1;
  constexpr int across = Width / width;
  constexpr int count = Height * across / Threads;
  static_assert(Height * across % Threads == 0);
  [[maybe_unused]] constexpr int together = Wide ? count : 4;  // a host compiler unrolls as it likes
#pragma unroll together
  for (int i = 0; i < count; ++i) {
    const int number = i * Threads + static_cast<int>(threadIdx.x);
    const int r = number / across;
    const int c = number % across * width;
    const bool inside = row + r < rows && column + c < columns;
    copy_async<width* static_cast<int>(sizeof(T))>(to + line(r) * Row + c,
                                                   from + (inside ? (row + r) * stride + column + c : 0), inside);
  }
}

/// Every line to its own place.
struct InOrder {
  __device__ int operator()(int line) const { return line; }
};

/// load(chunk) and then use(chunk) for every chunk, in turns: one is loaded, to the other of two stages, while the
/// block uses the one before it.
template <class Load, class Use>
__device__ __forceinline__ void by_turns(std::int64_t chunks, const Load& load, const Use& use) {
  load(0);
  commit_copies();
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    copies_left<0>();
    __syncthreads();  // the chunk is there, and the one before it is done with
    if (chunk + 1 < chunks) load(chunk + 1);
    commit_copies();
    use(chunk);
  }
}

constexpr int kSquareThreads = 128;  // four warps of 32 x 32

/// How a tile's channels at some positions lie in shared memory, and how they are multiplied there: as in memory,
/// (64, kDepth) with the channels first ...
template <class M, bool Wide>
struct ChannelsFirst {
  using Number = float;
  static constexpr int kDepth = GramPlan::kDepth;
  static constexpr int kRow = kDepth + kPad<float>;
  static constexpr int kSide = GramPlan::kTile * kRow;

  __device__ static void load(float* to, const float* from, std::int64_t c, std::int64_t p, std::int64_t first,
                              std::int64_t at, std::int64_t end) {
    load_block<kSquareThreads, GramPlan::kTile, kDepth, kRow, Wide>(to, from, p, c, end, first, at, InOrder{});
  }
  __device__ static const float* from(const float* side, int channel) { return side + channel * kRow; }
  __device__ static void add(float (&sums)[2][4][4], const float* left, const float* right, const float* weights) {
    const auto column = [=](int k, int j) { return right[j * kRow + k]; };
    if (weights == nullptr) {
      add_chunk<M, kDepth>(sums, [=](int i, int k) { return left[i * kRow + k]; }, column);
    } else {
      add_chunk<M, kDepth>(sums, [=](int i, int k) { return left[i * kRow + k] * weights[k]; }, column);
    }
  }
};

/// ... and (kDepth, 64) with them last. Numbers of 16 bits are multiplied as they are, whatever M.
template <class M, class T, bool Wide>
struct ChannelsLast {
  using Number = T;
  static constexpr int kDepth = GramPlan::kDepth * 4 / static_cast<int>(sizeof(T));
  static constexpr int kRow = GramPlan::kTile + (sizeof(T) == 4 ? 2 : 1) * kPad<T>;
  static constexpr int kSide = kDepth * kRow;

  __device__ static void load(T* to, const T* from, std::int64_t c, std::int64_t, std::int64_t first, std::int64_t at,
                              std::int64_t end) {
    load_block<kSquareThreads, kDepth, GramPlan::kTile, kRow, Wide>(to, from, c, end, c, at, first, InOrder{});
  }
  __device__ static const T* from(const T* side, int channel) { return side + channel; }
  __device__ static void add(float (&sums)[2][4][4], const T* left, const T* right, const float* weights) {
    if constexpr (sizeof(T) == 2) {
      add_apart(sums,
                [=](float (&chunk)[2][4][4]) { warp_multiply_turned<T, kDepth, kRow>(chunk, left, right, weights); });
    } else {
      const auto column = [=](int k, int j) { return right[k * kRow + j]; };
      if (weights == nullptr) {
        add_chunk<M, kDepth>(sums, [=](int i, int k) { return left[k * kRow + i]; }, column);
      } else {
        add_chunk<M, kDepth>(sums, [=](int i, int k) { return left[k * kRow + i] * weights[k]; }, column);
      }
    }
  }
};

/// A block of 64 x 64 of F diag(weights) F^T over a range of positions; F lies as `Form` says.
template <class Form>
class SquareProduct {
 public:
  using Number = typename Form::Number;
  struct alignas(16) Stage {
    Number left[Form::kSide], right[Form::kSide];
    float weights[Form::kDepth];
  };
  static constexpr int kStages = 3;

  __device__ SquareProduct(const Number* features, const float* weights, std::int64_t c, std::int64_t p,
                           std::int64_t row, std::int64_t column, Stage* stages)
      : features_(features),
        weights_(weights),
        c_(c),
        p_(p),
        row_(row * GramPlan::kTile),
        column_(column * GramPlan::kTile),
        stages_(stages) {}

  __device__ void run(std::int64_t begin, std::int64_t end) {
    const std::int64_t chunks = ceil_div(end - begin, Form::kDepth);
    for (int s = 0; s < kStages - 1; ++s) load(s, chunks, begin, end);
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      copies_left<kStages - 2>();
      __syncthreads();  // the chunk is there, and the one before it is done with
      load(chunk + kStages - 1, chunks, begin, end);
      multiply(stages_[chunk % kStages]);
    }
  }

  /// f(row, column, value) for the numbers of this thread.
  template <class F>
  __device__ void each(const F& f) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int e = 0; e < 32; ++e) {
      f(warp_row() + Lane::row(lane, e), warp_column() + Lane::column(lane, e), sums_[e / 16][e % 16 / 4][e % 4]);
    }
  }

 private:
  __device__ static int warp_row() { return static_cast<int>(threadIdx.x / 64) * 32; }
  __device__ static int warp_column() { return static_cast<int>(threadIdx.x / 32 % 2) * 32; }

  __device__ void load(std::int64_t chunk, std::int64_t chunks, std::int64_t begin, std::int64_t end) {
    if (chunk < chunks) {
      Stage& stage = stages_[chunk % kStages];
      const std::int64_t at = begin + chunk * Form::kDepth;
      Form::load(stage.left, features_, c_, p_, row_, at, end);
      if (row_ != column_) Form::load(stage.right, features_, c_, p_, column_, at, end);
      if (weights_ != nullptr && threadIdx.x < Form::kDepth) {
        const std::int64_t place = at + threadIdx.x;
        stage.weights[threadIdx.x] = place < end ? weights_[place] : 0.0F;
      }
    }
    commit_copies();  // of nothing too: the groups are counted
  }

  __device__ void multiply(const Stage& stage) {
    const Number* right = row_ == column_ ? stage.left : stage.right;
    Form::add(sums_, Form::from(stage.left, warp_row()), Form::from(right, warp_column()),
              weights_ == nullptr ? nullptr : stage.weights);
  }

  const Number* features_;
  const float* weights_;
  std::int64_t c_, p_, row_, column_;
  Stage* stages_;
  float sums_[2][4][4] = {};
};

/// out (m, n) = left (m, k) right (k, n) diag(column_scale), set or added to, for each of several pictures.
struct WideProduct {
  std::int64_t m, k, n;
  const float* left;
  const float* right;
  float* out;
  const float* column_scale = nullptr;  // (n), or (pictures, n) with scale_stride n
  std::int64_t scale_stride = 0;
  bool accumulate = false;
};
void multiply(const char* op, const WideProduct& product, std::int64_t pictures, Stream stream);

/// The type of D, and of gradients, for features of type T with their channels last.
template <class T>
using Slope = std::conditional_t<std::is_same_v<T, BFloat16>, BFloat16, float>;

/// out (p, c) = diag(row_scale) F (p, c) D (c, c), D symmetric, set or added to, for each of several pictures: D F with
/// the channels last. `number` is F's type; D and out have its Slope.
struct LastProduct {
  std::int64_t c, p;
  Number number;
  const void* features;
  const void* difference;
  void* out;
  const float* row_scale = nullptr;  // (p), or (pictures, p) with scale_stride p
  std::int64_t scale_stride = 0;
  bool accumulate = false;
};
void multiply(const char* op, const LastProduct& product, std::int64_t pictures, Stream stream);

}  // namespace stylogram::cuda
