// What a run keeps on the GPU between two looks of the host: each picture's best, and the losses of every iteration.
#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "cuda/states.h"

namespace stylogram::cuda {

namespace {

__global__ void __launch_bounds__(kThreads) look(Course c, double* partials, unsigned* counters) {
  const Cut cut = streaming(c.d);
  const std::int64_t n = blockIdx.y;
  const std::int64_t end = cut.end(blockIdx.x);
  bool finite = true;
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    finite = finite && isfinite(c.gradient[n * c.d + i]);
  }
  double bad = 0;
  if (!sum_over_blocks<kThreads>(finite ? 0.0 : 1.0, partials, counters, &bad) || threadIdx.x != 0) return;
  double* row = c.record + *c.evaluations % c.rows * (c.terms + 2) * c.n + n;
  double total = 0;
  for (std::int64_t t = 0; t < c.terms; ++t) {
    row[t * c.n] = c.values[t * c.n + n];
    total += c.values[t * c.n + n];
  }
  c.total[n] = total;
  row[c.terms * c.n] = total;
  row[(c.terms + 1) * c.n] = bad == 0 && isfinite(total) ? 1.0 : 0.0;
  c.better[n] = total < c.least[n] && c.going[n] != 0 ? 1 : 0;
  if (c.better[n] != 0) c.least[n] = total;
}

__global__ void __launch_bounds__(kThreads) keep(Course c) {
  const std::int64_t n = blockIdx.y;
  if (blockIdx.x == 0 && n == 0 && threadIdx.x == 0) *c.evaluations += 1;
  if (c.better[n] == 0) return;
  const Cut cut = streaming(c.d);
  const std::int64_t end = cut.end(blockIdx.x);
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    c.best[n * c.d + i] = c.picture[n * c.d + i];
  }
}

void follow(const Course& course, Stream stream) {
  const Cut cut = streaming(course.d);
  const Workspace work =
      workspace("course", stream, static_cast<std::size_t>(course.n * cut.count), static_cast<std::size_t>(course.n));
  const dim3 blocks = grid("course", cut.count, course.n);
  launch("course", look, blocks, kThreads, 0, stream, course, work.doubles, work.counters);
  launch("course", keep, blocks, kThreads, 0, stream, course);
}

__global__ void __launch_bounds__(kThreads) clip_kernel(std::int64_t size, float* x, float low, float high) {
  const Cut cut = streaming(size);
  const std::int64_t end = cut.end(blockIdx.x);
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    x[i] = x[i] < low ? low : x[i] > high ? high : x[i];  // a NaN stays
  }
}

void clip(std::int64_t size, float* x, float low, float high, Stream stream) {
  launch("clip", clip_kernel, grid("clip", streaming(size).count, 1), kThreads, 0, stream, size, x, low, high);
}

const Registration first("follow", &follow);
const Registration second("clip", &clip);

}  // namespace
}  // namespace stylogram::cuda
