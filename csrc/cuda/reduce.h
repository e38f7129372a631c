// Sums that come out the same every time: trees of a fixed form, and partial sums added up in their order.
#pragma once

#include "cuda/runtime.h"

namespace stylogram::cuda {

constexpr unsigned kAll = 0xffffffffU;

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAll, value, offset);
  return value;
}

/// The sum over the block's threads, for all of them. `Threads` is a multiple of 32.
template <int Threads>
__device__ double block_sum(double value) {
  __shared__ double warps[Threads / 32];
  value = warp_sum(value);
  __syncthreads();  // of a sum before this one
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  double total = 0;
  for (int w = 0; w < Threads / 32; ++w) total += warps[w];
  return total;
}

/// The largest of the values of the block's threads, none of which is below 0, for all of them; a NaN is passed over.
template <int Threads>
__device__ float block_max(float value) {
  __shared__ float warps[Threads / 32];
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kAll, value, offset));
  __syncthreads();  // of a maximum before this one
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  for (int w = 0; w < Threads / 32; ++w) value = fmaxf(value, warps[w]);
  return value;
}

/// Whether this block is the last of `blocks` to get here; then what the others' first threads have written is seen.
/// `counter` goes from 0 back to 0.
__device__ inline bool is_last(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(counter, blocks - 1) == blocks - 1;
  }
  __syncthreads();
  if (last) __threadfence();
  return last;
}

/// The sum of `mine` over the threads of all `gridDim.x` blocks of picture `blockIdx.y`: true in one block only, which
/// then has it in `*total`. `partials` (pictures, blocks), `counters` (pictures).
template <int Threads>
__device__ bool sum_over_blocks(double mine, double* partials, unsigned* counters, double* total) {
  double* own = partials + static_cast<std::int64_t>(blockIdx.y) * gridDim.x;
  const double sum = block_sum<Threads>(mine);
  if (threadIdx.x == 0) own[blockIdx.x] = sum;
  if (!is_last(counters + blockIdx.y, gridDim.x)) return false;
  double rest = 0;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += Threads) rest += __ldcg(own + b);
  *total = block_sum<Threads>(rest);
  return true;
}

}  // namespace stylogram::cuda
