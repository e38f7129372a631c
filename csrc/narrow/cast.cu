#include "cuda/narrow.h"
#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"
#include "narrow/cast.h"

namespace stylogram::cuda {
namespace {

using narrow::Cast;
using narrow::Peak;

constexpr int kTile = 32;  // a block turns kTile channels of kTile places
constexpr int kRows = kThreads / kTile;

template <bool Narrow>
struct Kinds {
  using From = Float16;
  using To = float;
};
template <>
struct Kinds<true> {
  using From = float;
  using To = Float16;
};

template <bool Narrow>
__device__ float scale_of(const Cast& c, std::int64_t n) {
  return Narrow ? c.factor[n] : c.scale;
}

template <bool Narrow>
__global__ void __launch_bounds__(kThreads) cast_kernel(Cast c) {
  const std::int64_t size = c.channels * c.places;
  const std::int64_t n = blockIdx.y;
  const auto* x = static_cast<const typename Kinds<Narrow>::From*>(c.x) + n * size;
  auto* y = static_cast<typename Kinds<Narrow>::To*>(c.y) + n * size;
  const float scale = scale_of<Narrow>(c, n);
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    y[i] = narrowed<typename Kinds<Narrow>::To>(scale * widened(x[i]));
  }
}

// From (channels, places) to (places, channels) if it narrows, back if it widens: rows of the one are columns of the
// other, and a tile goes through shared memory, so that both are read and written in the order of memory.
template <bool Narrow>
__global__ void __launch_bounds__(kThreads) turn_kernel(Cast c) {
  __shared__ float tile[kTile][kTile + 1];
  const std::int64_t rows = Narrow ? c.channels : c.places;
  const std::int64_t columns = Narrow ? c.places : c.channels;
  const std::int64_t across = ceil_div(columns, kTile);
  const std::int64_t row = blockIdx.x / across * kTile;
  const std::int64_t column = blockIdx.x % across * kTile;
  const std::int64_t n = blockIdx.y;
  const auto* x = static_cast<const typename Kinds<Narrow>::From*>(c.x) + n * rows * columns;
  auto* y = static_cast<typename Kinds<Narrow>::To*>(c.y) + n * rows * columns;
  const float scale = scale_of<Narrow>(c, n);
  const int lane = static_cast<int>(threadIdx.x % kTile);
  const int first = static_cast<int>(threadIdx.x / kTile);
  for (int i = first; i < kTile; i += kRows) {
    if (row + i < rows && column + lane < columns) tile[i][lane] = widened(x[(row + i) * columns + column + lane]);
  }
  __syncthreads();
  for (int i = first; i < kTile; i += kRows) {
    if (column + i < columns && row + lane < rows) {
      y[(column + i) * rows + row + lane] = narrowed<typename Kinds<Narrow>::To>(scale * tile[lane][i]);
    }
  }
}

template <bool Narrow>
void cast(const Cast& c, Stream stream) {
  const char* op = Narrow ? "narrow" : "widen";
  if (c.n * c.channels * c.places == 0) return;
  if (!c.turned) {
    launch(op, cast_kernel<Narrow>, grid(op, streaming(c.channels * c.places).count, c.n), kThreads, 0, stream, c);
    return;
  }
  const std::int64_t tiles = ceil_div(c.channels, kTile) * ceil_div(c.places, kTile);
  launch(op, turn_kernel<Narrow>, grid(op, tiles, c.n), kThreads, 0, stream, c);
}

// The largest of the block's threads' values, in thread 0. None is below 0.
__device__ float block_max(float value) {
  __shared__ float warps[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kAll, value, offset));
  __syncthreads();  // of a maximum before this one
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  for (unsigned w = 0; w < kThreads / 32; ++w) value = fmaxf(value, warps[w]);
  return value;
}

__global__ void __launch_bounds__(kThreads) peak_kernel(Peak p, double* partials, unsigned* counters) {
  const std::int64_t n = blockIdx.y;
  const Cut cut = streaming(p.size);
  const std::int64_t end = cut.end(blockIdx.x);
  float highest = 0;
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    highest = fmaxf(highest, fabsf(p.x[n * p.size + i]));  // of a number and a NaN, the number
  }
  double* own = partials + n * gridDim.x;
  highest = block_max(highest);
  if (threadIdx.x == 0) own[blockIdx.x] = static_cast<double>(highest);
  if (!is_last(counters + n, gridDim.x)) return;
  float all = p.before == nullptr ? 0.0F : p.before[n];
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kThreads) all = fmaxf(all, static_cast<float>(__ldcg(own + b)));
  all = block_max(all);
  if (threadIdx.x == 0) p.peak[n] = all;
}

void peak(const Peak& p, Stream stream) {
  const char* op = "peak";
  if (p.n == 0) return;
  const Cut cut = streaming(most(1, p.size));
  const Workspace work =
      workspace(op, stream, static_cast<std::size_t>(p.n * cut.count), static_cast<std::size_t>(p.n));
  launch(op, peak_kernel, grid(op, cut.count, p.n), kThreads, 0, stream, p, work.doubles, work.counters);
}

const Registration first("narrow", &cast<true>);
const Registration second("widen", &cast<false>);
const Registration third("peak", &peak);

}  // namespace
}  // namespace stylogram::cuda
