// The last of L-BFGS's launches: the pairs' combination, and the step along it.
#pragma once

#include "cuda/plan.h"
#include "lbfgs/recursion.h"

namespace stylogram::cuda::lbfgs {

template <class T>
constexpr int kTogether = 16 / static_cast<int>(sizeof(T));  // numbers of a pair that a thread reads at once
template <class T>
constexpr unsigned kMovers = kChunk / kTogether<T>;  // threads of a block, which have a chunk at once

STYLOGRAM_HD constexpr Cut move_slices(std::int64_t d) { return Cut(d, kChunk, 8192, kChunk); }

__device__ inline bool in_fours(const float* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

// `there` numbers; 0 for the rest.
template <int Each>
__device__ void get(const float* from, int there, float (&to)[Each]) {
  if (there == Each && in_fours(from)) {
#pragma unroll
    for (int u = 0; u < Each; u += 4) {
      const float4 found = *reinterpret_cast<const float4*>(from + u);
      to[u] = found.x;
      to[u + 1] = found.y;
      to[u + 2] = found.z;
      to[u + 3] = found.w;
    }
    return;
  }
#pragma unroll
  for (int u = 0; u < Each; ++u) to[u] = u < there ? from[u] : 0.0F;
}

template <int Each>
__device__ void put(const float (&from)[Each], int there, float* to) {
  if (there == Each && in_fours(to)) {
#pragma unroll
    for (int u = 0; u < Each; u += 4) {
      *reinterpret_cast<float4*>(to + u) = {from[u], from[u + 1], from[u + 2], from[u + 3]};
    }
    return;
  }
#pragma unroll
  for (int u = 0; u < Each; ++u) {
    if (u < there) to[u] = from[u];
  }
}

__device__ inline void widen(const float* from, float (&to)[4]) { get(from, 4, to); }
__device__ inline void widen(const Float16* from, float (&to)[8]) {
  float pairs[4];
  get(reinterpret_cast<const float*>(from), 4, pairs);
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    const std::uint32_t two = bits_of(pairs[u]);
    to[2 * u] = widened(Float16{static_cast<std::uint16_t>(two)});
    to[2 * u + 1] = widened(Float16{static_cast<std::uint16_t>(two >> 16)});
  }
}

// Adds a pair's part of the direction from i on.
template <class T, int Each>
__device__ void add_pair(const State& state, std::int64_t n, int slot, std::int64_t i, const float* coefficients,
                         float (&direction)[Each]) {
  float s[Each];
  float y[Each];
  float unit_s = 1;
  float unit_y = 1;
  if constexpr (sizeof(T) == 2) {
    const float* units = state.unit(n, slot, i);
    unit_s = units[0];
    unit_y = units[1];
    widen(state.halves_s(n, slot) + i, s);
    widen(state.halves_y(n, slot) + i, y);
  } else {
    widen(state.pair_s(n, slot) + i, s);
    widen(state.pair_y(n, slot) + i, y);
  }
#pragma unroll
  for (int u = 0; u < Each; ++u) direction[u] += coefficients[0] * (unit_s * s[u]) + coefficients[1] * (unit_y * y[u]);
}

// T: of the pairs.
template <class T>
__global__ void __launch_bounds__(kMovers<T>) move(State state, float* x, const float* gradient) {
  constexpr int kEach = kTogether<T>;
  STYLOGRAM_SHARED(float, coefficients);  // of s and y by age
  const std::int64_t n = blockIdx.y;
  const Picture picture = state.pictures[n];
  if (picture.outcome == Outcome::not_finite) return;
  const bool halved = picture.outcome == Outcome::halved;
  const bool back = halved || picture.outcome == Outcome::restarted;
  for (int age = static_cast<int>(threadIdx.x); age < picture.count; age += static_cast<int>(kMovers<T>)) {
    coefficients[2 * age] = state.of_s[n * state.slots + age];
    coefficients[2 * age + 1] = state.of_y[n * state.slots + age];
  }
  __syncthreads();
  const int forming = picture.forming(state.slots);
  float* new_s = state.forming_s(n, forming);
  float* new_y = state.forming_y(n, forming);
  float* previous = state.previous == nullptr ? nullptr : state.previous + n * state.stride;
  const Cut cut = move_slices(state.d);
  const std::int64_t end = cut.end(blockIdx.x);
  for (std::int64_t i = cut.begin(blockIdx.x) + kEach * threadIdx.x; i < end; i += kChunk) {
    const auto there = static_cast<int>(least(end - i, kEach));
    float* place = x + n * state.d + i;
    float point[kEach];
    float step[kEach];
    if (back) {
      // Half the last step, or a first one, from the previous point, whose gradient the forming pair still has.
      get((halved ? new_s : new_y) + i, there, step);
      get(previous + i, there, point);
#pragma unroll
      for (int u = 0; u < kEach; ++u) step[u] *= halved ? 0.5F : -picture.length;
    } else {
      float slopes[kEach];
      get(gradient + n * state.d + i, there, slopes);
#pragma unroll
      for (int u = 0; u < kEach; ++u) step[u] = picture.of_gradient * slopes[u];
      int slot = picture.oldest;
#pragma unroll 4
      for (int age = 0; age < picture.count; ++age) {
        add_pair<T>(state, n, slot, i, coefficients + 2 * age, step);
        slot = slot + 1 == state.slots ? 0 : slot + 1;
      }
      get(place, there, point);
      if (previous != nullptr) put(point, there, previous + i);
      get(gradient + n * state.d + i, there, slopes);  // again: registers are for the pairs
      put(slopes, there, new_y + i);
#pragma unroll
      for (int u = 0; u < kEach; ++u) step[u] *= picture.length;
    }
#pragma unroll
    for (int u = 0; u < kEach; ++u) point[u] += step[u];
    put(step, there, new_s + i);
    put(point, there, place);
  }
}

}  // namespace stylogram::cuda::lbfgs
