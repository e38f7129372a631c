// The state of L-BFGS on a GPU, and the recursion over its scalars: lbfgs/history.h by the threads of a block.
//
// Pairs in float16 are as lbfgs/pairs.h has them on the CPU, with a power of two for every kChunk numbers.
#pragma once

#include "cuda/narrow.h"
#include "cuda/runtime.h"
#include "ops/lbfgs.h"

namespace stylogram::cuda::lbfgs {

using Options = ops::Lbfgs::Options;
using Outcome = ops::Lbfgs::Outcome;
using Precision = stylogram::lbfgs::Precision;

constexpr int kKinds = 4;     // of products: s.y, y.y, s.g, y.g
constexpr int kAhead = 8;     // rows of scalars that are read at once
constexpr int kChunk = 1024;  // numbers whose y and g stay in shared memory while the pairs pass by

// As ops::Lbfgs::Picture and lbfgs::History. Ages count from the oldest pair; the forming one has age `count`.
struct Picture {
  std::int32_t oldest, count;
  Outcome outcome;
  std::int32_t has_previous, halvings;
  float of_gradient, length;
  double norm, previous_norm, previous_value;

  __device__ int slot(int age, int slots) const { return (oldest + age) % slots; }
  __device__ int forming(int slots) const { return slot(count, slots); }
};

struct State {
  std::int64_t n, d, stride;
  int slots;
  Options options;
  Picture* pictures;         // (n)
  float *s, *y;              // (n, slots, stride); with pairs in float16, of the forming pair alone: (n, stride)
  Float16 *half_s, *half_y;  // (n, slots, stride); null with pairs in float32
  float* units;              // (n, slots, stride / kChunk, 2): what a chunk's halves of s and of y are multiplied by
  float* previous;           // (n, stride); null unless backtrack
  double *sy, *ys;           // (n, slots, slots): s_a . y_b at [a][b], and the same at [b][a]
  double* yy;                // (n, slots, slots)
  double* sums;              // (n, slots, kinds): products by age
  float *of_s, *of_y;        // (n, slots): the direction, by age

  __device__ float* pair_s(std::int64_t n, int slot) const { return s + (n * slots + slot) * stride; }
  __device__ float* pair_y(std::int64_t n, int slot) const { return y + (n * slots + slot) * stride; }
  __device__ float* forming_s(std::int64_t n, int slot) const {
    return half_s == nullptr ? pair_s(n, slot) : s + n * stride;
  }
  __device__ float* forming_y(std::int64_t n, int slot) const {
    return half_s == nullptr ? pair_y(n, slot) : y + n * stride;
  }
  __device__ Float16* halves_s(std::int64_t n, int slot) const { return half_s + (n * slots + slot) * stride; }
  __device__ Float16* halves_y(std::int64_t n, int slot) const { return half_y + (n * slots + slot) * stride; }
  __device__ float* unit(std::int64_t n, int slot, std::int64_t at) const {
    return units + ((n * slots + slot) * (stride / kChunk) + at / kChunk) * 2;
  }
};

// One picture's scalars in one block, a thread for each pair.
class Recursion {
 public:
  __device__ Recursion(const State& state, double* shared)
      : state_(state),
        picture_(state.pictures[blockIdx.x]),
        n_(blockIdx.x),
        age_(static_cast<int>(threadIdx.x)),
        sum_(shared),
        inverse_(sum_ + state.slots),
        alpha_(inverse_ + state.slots) {}

  // Keeps the forming pair if its y.s is more than the curvature: see lbfgs::History::absorb. Returns the product that
  // is of age 0 now.
  __device__ int absorb() {
    const int count = picture_.count;
    const double sy = product(count, 0);
    const bool kept = sy > state_.options.curvature && isfinite(sy) && isfinite(product(count, 1));
    const int newest = picture_.forming(state_.slots);
    if (kept && age_ <= count) {
      const int a = picture_.slot(age_, state_.slots);
      *at(state_.sy, a, newest) = *at(state_.ys, newest, a) = product(age_, 0);
      *at(state_.yy, a, newest) = *at(state_.yy, newest, a) = product(age_, 1);
    }
    __syncthreads();  // the picture is read before it changes, the products are there before they are used
    const bool full = count + 1 == state_.slots;
    if (age_ == 0) {
      if (!kept) picture_.outcome = Outcome::rejected;
      if (kept && full) picture_.oldest = picture_.slot(1, state_.slots);
      if (kept && !full) picture_.count = count + 1;
    }
    __syncthreads();
    return kept && full ? 1 : 0;
  }

  // -H g in coefficients by the two-loop recursion: see lbfgs::History::direction. `first`: the product of age 0.
  __device__ void direct(int first) {
    const int count = picture_.count;
    if (count == 0) {
      if (age_ == 0) picture_.of_gradient = -1;
      return;
    }
    const int slot = picture_.slot(age_, state_.slots);
    const int newest = picture_.slot(count - 1, state_.slots);
    const double scale = *at(state_.sy, newest, newest) / *at(state_.yy, newest, newest);
    if (age_ < count) {
      inverse_[age_] = 1 / *at(state_.sy, slot, slot);
      sum_[age_] = -product(age_ + first, 2);
    }
    for (int tile = count - 1; tile >= 0; tile -= kAhead) backwards(tile, slot);
    __syncthreads();
    if (age_ < count) sum_[age_] = scale * base(count, slot, first);
    for (int tile = 0; tile < count; tile += kAhead) forwards(tile, count, slot, scale);
    if (age_ == 0) picture_.of_gradient = static_cast<float>(-scale);
  }

 private:
  __device__ double* at(double* matrix, int row, int column) const {
    return matrix + (n_ * state_.slots + row) * state_.slots + column;
  }
  __device__ double product(int age, int kind) const { return state_.sums[(n_ * state_.slots + age) * kKinds + kind]; }

  // From the newest pair back: alpha = rho s.q, q -= alpha y.
  __device__ void backwards(int tile, int slot) {
    double ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int age = tile - k;
      ahead[k] = age >= 0 && age_ < age ? *at(state_.ys, picture_.slot(age, state_.slots), slot) : 0.0;
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int age = tile - k;
      if (age < 0) break;
      __syncthreads();
      const double alpha = sum_[age] * inverse_[age];
      if (age_ == age) alpha_[age] = alpha;
      if (age_ < age) sum_[age_] -= alpha * ahead[k];
    }
  }

  // y.(-g - sum of alpha y)
  __device__ double base(int count, int slot, int first) const {
    double sum = -product(age_ + first, 3);
#pragma unroll 8
    for (int other = 0; other < count; ++other) {
      sum -= alpha_[other] * *at(state_.yy, picture_.slot(other, state_.slots), slot);
    }
    return sum;
  }

  // From the oldest pair on: r += s (alpha - rho y.r).
  __device__ void forwards(int tile, int count, int slot, double scale) {
    double ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int age = tile + k;
      const bool needed = age < age_ && age_ < count;
      ahead[k] = needed ? *at(state_.sy, picture_.slot(age, state_.slots), slot) : 0.0;
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int age = tile + k;
      if (age >= count) break;
      __syncthreads();
      const double alpha = alpha_[age];
      const double step = alpha - sum_[age] * inverse_[age];
      if (age_ > age && age_ < count) sum_[age_] += step * ahead[k];
      if (age_ == age) {
        state_.of_s[n_ * state_.slots + age] = static_cast<float>(step);
        state_.of_y[n_ * state_.slots + age] = static_cast<float>(-scale * alpha);
      }
    }
  }

  const State& state_;
  Picture& picture_;
  std::int64_t n_;
  int age_;
  double *sum_, *inverse_, *alpha_;  // by age
};

}  // namespace stylogram::cuda::lbfgs
