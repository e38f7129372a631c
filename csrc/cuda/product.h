// The two products of the Gram loss: F F^T of a few rows and very many positions, and D F with as many columns.
#pragma once

#include "cuda/mma.h"
#include "cuda/plan.h"

namespace stylogram::cuda {

constexpr int kPad = 4;  // floats behind a row: a warp's reads then fall into 32 banks

/// sums += the chunk's product; where tensor cores sum too roughly, the chunk is summed by itself first.
template <class M, int Depth, class Left, class Right>
__device__ __forceinline__ void add_chunk(float (&sums)[2][4][4], const Left& left, const Right& right) {
  if constexpr (M::kPromotes) {
    float chunk[2][4][4] = {};
    warp_multiply<M, Depth>(chunk, left, right);
#pragma unroll
    for (int e = 0; e < 32; ++e) sums[e / 16][e % 16 / 4][e % 4] += chunk[e / 16][e % 16 / 4][e % 4];
  } else {
    warp_multiply<M, Depth>(sums, left, right);
  }
}

constexpr int kSquareThreads = 128;  // four warps of 32 x 32
constexpr int kSquareStages = 3;
constexpr int kSquareRow = GramPlan::kDepth + kPad;
constexpr int kSquareSide = GramPlan::kTile * kSquareRow;         // floats of one operand
constexpr int kSquareStage = 2 * kSquareSide + GramPlan::kDepth;  // both operands, and weights
constexpr std::size_t kSquareShared = kSquareStages * kSquareStage * sizeof(float);

/// A block of 64 x 64 of left diag(weights) right^T, both (c, p), over a range of positions.
template <class M, bool Wide>
class SquareProduct {
 public:
  __device__ SquareProduct(const float* left, const float* right, const float* weights, std::int64_t c, std::int64_t p,
                           std::int64_t row, std::int64_t column, float* stages)
      : left_(left),
        right_(right),
        weights_(weights),
        c_(c),
        p_(p),
        row_(row * GramPlan::kTile),
        column_(column * GramPlan::kTile),
        stages_(stages) {}

  __device__ void run(std::int64_t begin, std::int64_t end) {
    const std::int64_t chunks = ceil_div(end - begin, GramPlan::kDepth);
    for (int s = 0; s < kSquareStages - 1; ++s) load(s, chunks, begin, end);
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      copies_left<kSquareStages - 2>();
      __syncthreads();  // the chunk is there, and the one before it is done with
      load(chunk + kSquareStages - 1, chunks, begin, end);
      multiply(stages_ + chunk % kSquareStages * kSquareStage);
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
  __device__ bool diagonal() const { return row_ == column_ && left_ == right_; }

  __device__ void load(std::int64_t chunk, std::int64_t chunks, std::int64_t begin, std::int64_t end) {
    if (chunk < chunks) {
      float* stage = stages_ + chunk % kSquareStages * kSquareStage;
      const std::int64_t at = begin + chunk * GramPlan::kDepth;
      side(stage, left_, row_, at, end);
      if (!diagonal()) side(stage + kSquareSide, right_, column_, at, end);
      if (weights_ != nullptr && threadIdx.x < GramPlan::kDepth) {
        const std::int64_t place = at + threadIdx.x;
        stage[2 * kSquareSide + threadIdx.x] = place < end ? weights_[place] : 0.0F;
      }
    }
    commit_copies();  // of nothing too: the groups are counted
  }

  __device__ void side(float* to, const float* from, std::int64_t first, std::int64_t at, std::int64_t end) const {
    constexpr int width = Wide ? 4 : 1;
    constexpr int across = GramPlan::kDepth / width;
#pragma unroll
    for (int i = 0; i < GramPlan::kTile * across / kSquareThreads; ++i) {
      const int number = i * kSquareThreads + static_cast<int>(threadIdx.x);
      const int row = number / across;
      const int k = number % across * width;
      const bool inside = first + row < c_ && at + k < end;
      copy_async<4 * width>(to + row * kSquareRow + k, from + (inside ? (first + row) * p_ + at + k : 0), inside);
    }
  }

  __device__ void multiply(const float* stage) {
    const float* left = stage + warp_row() * kSquareRow;
    const float* right = stage + (diagonal() ? 0 : kSquareSide) + warp_column() * kSquareRow;
    const float* weights = stage + 2 * kSquareSide;
    const auto column = [=](int k, int j) { return right[j * kSquareRow + k]; };
    if (weights_ == nullptr) {
      add_chunk<M, GramPlan::kDepth>(sums_, [=](int i, int k) { return left[i * kSquareRow + k]; }, column);
    } else {
      add_chunk<M, GramPlan::kDepth>(
          sums_, [=](int i, int k) { return left[i * kSquareRow + k] * weights[k]; }, column);
    }
  }

  const float *left_, *right_, *weights_;
  std::int64_t c_, p_, row_, column_;
  float* stages_;
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

}  // namespace stylogram::cuda
