#include <type_traits>

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
constexpr int kFew = 4;  // channels

// Of a cast from or, if it narrows, to T.
template <class T, bool Narrow>
using From = std::conditional_t<Narrow, float, T>;
template <class T, bool Narrow>
using To = std::conditional_t<Narrow, T, float>;

template <bool Narrow>
__device__ float scale_of(const Cast& c, std::int64_t n) {
  if (c.peak == nullptr) return c.scale;
  const float unit = fmaxf(c.peak[n], narrow::kLeast);
  return Narrow ? c.scale / unit : c.scale * unit;
}

template <class T, bool Narrow>
__global__ void __launch_bounds__(kThreads) cast_kernel(Cast c) {
  const std::int64_t size = c.channels * c.places;
  const std::int64_t n = blockIdx.y;
  const auto* x = static_cast<const From<T, Narrow>*>(c.x) + n * size;
  auto* y = static_cast<To<T, Narrow>*>(c.y) + n * size;
  const float scale = scale_of<Narrow>(c, n);
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    y[i] = narrowed<To<T, Narrow>>(scale * widened(x[i]));
  }
}

// From (channels, places) to (places, channels) if it narrows, back if it widens: rows of the one are columns of the
// other, and a tile goes through shared memory, so that both are read and written in the order of memory.
template <class T, bool Narrow>
__global__ void __launch_bounds__(kThreads) turn_kernel(Cast c) {
  __shared__ float tile[kTile][kTile + 1];
  const std::int64_t rows = Narrow ? c.channels : c.places;
  const std::int64_t columns = Narrow ? c.places : c.channels;
  const std::int64_t across = ceil_div(columns, kTile);
  const std::int64_t row = blockIdx.x / across * kTile;
  const std::int64_t column = blockIdx.x % across * kTile;
  const std::int64_t n = blockIdx.y;
  const auto* x = static_cast<const From<T, Narrow>*>(c.x) + n * rows * columns;
  auto* y = static_cast<To<T, Narrow>*>(c.y) + n * rows * columns;
  const float scale = scale_of<Narrow>(c, n);
  const int lane = static_cast<int>(threadIdx.x % kTile);
  const int first = static_cast<int>(threadIdx.x / kTile);
  for (int i = first; i < kTile; i += kRows) {
    if (row + i < rows && column + lane < columns) tile[i][lane] = widened(x[(row + i) * columns + column + lane]);
  }
  __syncthreads();
  for (int i = first; i < kTile; i += kRows) {
    if (column + i < columns && row + lane < rows) {
      y[(column + i) * rows + row + lane] = narrowed<To<T, Narrow>>(scale * tile[lane][i]);
    }
  }
}

// The same for pictures, of a few channels: a place for each thread.
template <class T, bool Narrow>
__global__ void __launch_bounds__(kThreads) turn_few_kernel(Cast c) {
  const std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= c.places) return;
  const std::int64_t n = blockIdx.y;
  const auto* x = static_cast<const From<T, Narrow>*>(c.x) + n * c.channels * c.places;
  auto* y = static_cast<To<T, Narrow>*>(c.y) + n * c.channels * c.places;
  const float scale = scale_of<Narrow>(c, n);
  float values[kFew] = {};
#pragma unroll
  for (std::int64_t k = 0; k < kFew; ++k) {
    if (k < c.channels) values[k] = widened(x[Narrow ? k * c.places + place : place * c.channels + k]);
  }
#pragma unroll
  for (std::int64_t k = 0; k < kFew; ++k) {
    if (k < c.channels) {
      y[Narrow ? place * c.channels + k : k * c.places + place] = narrowed<To<T, Narrow>>(scale * values[k]);
    }
  }
}

template <class T, bool Narrow>
void run(const char* op, const Cast& c, Stream stream) {
  if (!c.turned) {
    const unsigned blocks = streaming(c.channels * c.places).count;
    launch(op, cast_kernel<T, Narrow>, grid(op, blocks, c.n), kThreads, 0, stream, c);
    return;
  }
  if (c.channels <= kFew) {
    launch(op, turn_few_kernel<T, Narrow>, grid(op, ceil_div(c.places, kThreads), c.n), kThreads, 0, stream, c);
    return;
  }
  const std::int64_t tiles = ceil_div(c.channels, kTile) * ceil_div(c.places, kTile);
  launch(op, turn_kernel<T, Narrow>, grid(op, tiles, c.n), kThreads, 0, stream, c);
}

template <bool Narrow>
void cast(const Cast& c, Stream stream) {
  const char* op = Narrow ? "narrow" : "widen";
  check(c.number != Number::float32, op, "float16 and bfloat16 are accepted, got float32");
  if (c.n * c.channels * c.places == 0) return;
  if (c.number == Number::float16) return run<Float16, Narrow>(op, c, stream);
  run<BFloat16, Narrow>(op, c, stream);
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
  highest = block_max<kThreads>(highest);
  if (threadIdx.x == 0) own[blockIdx.x] = static_cast<double>(highest);
  if (!is_last(counters + n, gridDim.x)) return;
  float all = p.before == nullptr ? 0.0F : p.before[n];
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kThreads) all = fmaxf(all, static_cast<float>(__ldcg(own + b)));
  all = block_max<kThreads>(all);
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
