#include "cuda/product.h"

namespace stylogram::cuda {
namespace {

constexpr int kCount = static_cast<int>(kThreads);
constexpr int kRows = 64;
constexpr int kColumns = 128;
constexpr int kDepth = 32;
constexpr int kLeftRow = kDepth + kPad<float>;
constexpr int kRightRow = kColumns + 2 * kPad<float>;  // four rows and eight columns of a read are 32 banks
constexpr int kLeftSide = kRows * kLeftRow;
constexpr int kStage = kLeftSide + kDepth * kRightRow;
constexpr int kStages = 2;
constexpr std::size_t kShared = kStages * kStage * sizeof(float);

template <class M, bool Wide>
__global__ void __launch_bounds__(kThreads) wide_kernel(WideProduct product) {
  STYLOGRAM_SHARED(float, stages);
  const std::int64_t n = blockIdx.y;
  const float* left = product.left + n * product.m * product.k;
  const float* right = product.right + n * product.k * product.n;
  const std::int64_t blocks = ceil_div(product.m, kRows);
  const std::int64_t row = blockIdx.x % blocks * kRows;  // neighbouring blocks read the same columns
  const std::int64_t column = blockIdx.x / blocks * kColumns;
  const std::int64_t chunks = ceil_div(product.k, kDepth);
  const auto load = [&](std::int64_t chunk) {
    float* stage = stages + chunk % kStages * kStage;
    load_block<kCount, kRows, kDepth, kLeftRow, Wide>(stage, left, product.k, product.m, product.k, row, chunk * kDepth,
                                                      InOrder{});
    load_block<kCount, kDepth, kColumns, kRightRow, Wide>(stage + kLeftSide, right, product.n, product.k, product.n,
                                                          chunk * kDepth, column, InOrder{});
  };
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / 4 * 32;
  const int warp_column = warp % 4 * 32;
  float sums[2][4][4] = {};
  by_turns(chunks, load, [&](std::int64_t chunk) {
    const float* a = stages + chunk % kStages * kStage + warp_row * kLeftRow;
    const float* b = stages + chunk % kStages * kStage + kLeftSide + warp_column;
    add_chunk<M, kDepth>(
        sums, [=](int i, int k) { return a[i * kLeftRow + k]; }, [=](int k, int j) { return b[k * kRightRow + j]; });
  });
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* scale = product.column_scale == nullptr ? nullptr : product.column_scale + n * product.scale_stride;
#pragma unroll
  for (int e = 0; e < 32; ++e) {
    const std::int64_t i = row + warp_row + Lane::row(lane, e);
    const std::int64_t j = column + warp_column + Lane::column(lane, e);
    if (i >= product.m || j >= product.n) continue;
    float* out = product.out + (n * product.m + i) * product.n + j;
    const float value = sums[e / 16][e % 16 / 4][e % 4] * (scale == nullptr ? 1.0F : scale[j]);
    *out = product.accumulate ? *out + value : value;
  }
}

}  // namespace

void multiply(const char* op, const WideProduct& product, std::int64_t pictures, Stream stream) {
  const dim3 blocks = grid(op, ceil_div(product.m, kRows) * ceil_div(product.n, kColumns), pictures);
  const bool wide = product.k % 4 == 0 && product.n % 4 == 0 && aligned(product.left, product.right);
  with_math(stream.math, [&](auto math) {
    using M = decltype(math);
    launch(op, wide ? wide_kernel<M, true> : wide_kernel<M, false>, blocks, kThreads, kShared, stream, product);
  });
}

}  // namespace stylogram::cuda
