// F D with the channels last: blocks of 128 positions and 64 channels, of 8 warps.
#include "cuda/product.h"

namespace stylogram::cuda {
namespace {

constexpr int kCount = static_cast<int>(kThreads);
constexpr int kRows = 128;
constexpr int kColumns = 64;
constexpr int kStages = 2;
template <class T>
constexpr int kBlocks = STYLOGRAM_TENSOR_CORES && std::is_same_v<T, BFloat16> ? 3 : 1;  // on a multiprocessor, at least

// The columns 8 t to 8 t + 7 of a warp's 32 are lane t's, so that it writes them at once: column c is multiplied at the
// place that gives it to the lane (mma.h).
struct ByLane {
  __device__ int operator()(int c) const { return c / 32 * 32 + c % 8 / 2 * 8 + c % 32 / 8 * 2 + c % 2; }
};

template <class M, class T>
struct Tiles {
  using U = Slope<T>;
  static constexpr int kDepth = GramPlan::kDepth * 4 / static_cast<int>(sizeof(U));
  static constexpr int kLeftRow = kDepth + kPad<T>;
  static constexpr int kRightRow = kDepth + kPad<U>;
  struct alignas(16) Stage {
    T left[kRows * kLeftRow];
    U right[kColumns * kRightRow];
  };

  __device__ static void add(float (&sums)[2][4][4], const Stage& stage, int row, int column) {
    const T* left = stage.left + row * kLeftRow;
    const U* right = stage.right + column * kRightRow;
    if constexpr (sizeof(U) == 2) {
      warp_multiply_along<T, kDepth, kLeftRow>(sums, left, right);
    } else {
      add_chunk<M, kDepth>(
          sums, [=](int i, int k) { return widened(left[i * kLeftRow + k]); },
          [=](int k, int j) { return right[j * kRightRow + k]; });
    }
  }
};

template <class U>
struct alignas(16) Sixteen {
  U v[16 / sizeof(U)];
};

// Eight numbers of a row, of which `count` are in the matrix.
template <bool Wide, class U>
__device__ __forceinline__ void store(U* out, const float (&values)[8], std::int64_t count, bool accumulate) {
  constexpr int width = Wide ? static_cast<int>(16 / sizeof(U)) : 1;
#pragma unroll
  for (int at = 0; at < 8; at += width) {
    if (at >= count) return;
    if constexpr (Wide) {
      auto* to = reinterpret_cast<Sixteen<U>*>(out + at);
      Sixteen<U> made = {};
      if (accumulate) made = *to;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        made.v[i] = narrowed<U>(values[at + i] + (accumulate ? widened(made.v[i]) : 0.0F));
      }
      *to = made;
    } else {
      out[at] = narrowed<U>(values[at] + (accumulate ? widened(out[at]) : 0.0F));
    }
  }
}

template <class M, class T, bool Wide>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) last_kernel(LastProduct product) {
  using Own = Tiles<M, T>;
  using U = Slope<T>;
  STYLOGRAM_SHARED(float, memory);
  auto* stages = reinterpret_cast<typename Own::Stage*>(memory);
  const std::int64_t n = blockIdx.y;
  const std::int64_t c = product.c;
  const std::int64_t p = product.p;
  const T* features = static_cast<const T*>(product.features) + n * p * c;
  const U* difference = static_cast<const U*>(product.difference) + n * c * c;
  const std::int64_t blocks = ceil_div(c, kColumns);
  const std::int64_t row = blockIdx.x / blocks * kRows;  // neighbouring blocks read the same positions
  const std::int64_t column = blockIdx.x % blocks * kColumns;
  const std::int64_t chunks = ceil_div(c, Own::kDepth);
  const auto load = [&](std::int64_t chunk) {
    auto& stage = stages[chunk % kStages];
    const std::int64_t k = chunk * Own::kDepth;
    load_block<kCount, kRows, Own::kDepth, Own::kLeftRow, Wide>(stage.left, features, c, p, c, row, k, InOrder{});
    load_block<kCount, kColumns, Own::kDepth, Own::kRightRow, Wide>(stage.right, difference, c, c, c, column, k,
                                                                    ByLane{});
  };
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / 2 * 32;
  const int warp_column = warp % 2 * 32;
  float sums[2][4][4] = {};
  by_turns(chunks, load, [&](std::int64_t chunk) { Own::add(sums, stages[chunk % kStages], warp_row, warp_column); });
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* scale = product.row_scale == nullptr ? nullptr : product.row_scale + n * product.scale_stride;
  const std::int64_t j = column + warp_column + lane % 4 * 8;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const std::int64_t i = row + warp_row + Lane::row(lane, e / 2 * 16 + e % 2 * 2);
    if (i >= p) continue;
    const float factor = scale == nullptr ? 1.0F : scale[i];
    float values[8];
#pragma unroll
    for (int v = 0; v < 8; ++v) values[v] = factor * sums[e / 2][v / 2][e % 2 * 2 + v % 2];
    store<Wide>(static_cast<U*>(product.out) + (n * p + i) * c + j, values, c - j, product.accumulate);
  }
}

template <class M, class T>
void run(const char* op, const LastProduct& product, std::int64_t pictures, Stream stream) {
  const dim3 blocks = grid(op, ceil_div(product.p, kRows) * ceil_div(product.c, kColumns), pictures);
  const bool wide = product.c % kPad<T> == 0 && aligned(product.features, product.difference, product.out);
  launch(op, wide ? last_kernel<M, T, true> : last_kernel<M, T, false>, blocks, kThreads,
         kStages * sizeof(typename Tiles<M, T>::Stage), stream, product);
}

}  // namespace

void multiply(const char* op, const LastProduct& product, std::int64_t pictures, Stream stream) {
  if (product.number == Number::bfloat16) return run<Tf32, BFloat16>(op, product, pictures, stream);
  with_math(stream.math, [&](auto math) {
    using M = decltype(math);
    if (product.number == Number::float16) return run<M, Float16>(op, product, pictures, stream);
    run<M, float>(op, product, pictures, stream);
  });
}

}  // namespace stylogram::cuda
