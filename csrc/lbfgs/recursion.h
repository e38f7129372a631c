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

// A place in a ring, from one that is at most a turn too far.
__device__ inline int around(int place, int slots) { return place < slots ? place : place - slots; }

// As ops::Lbfgs::Picture and lbfgs::History. Ages count from the oldest pair; the forming one has age `count`.
struct Picture {
  std::int32_t oldest, count;
  Outcome outcome;
  std::int32_t has_previous, halvings;
  float of_gradient, length;
  double norm, previous_norm, previous_value;

  __device__ int slot(int age, int slots) const { return around(oldest + age, slots); }
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

// One picture's scalars in one block, a thread for each pair. What a thread alone needs is in its registers; two
// numbers of each pair are in shared memory, for the other threads.
class Recursion {
 public:
  __device__ Recursion(const State& state, double* shared)
      : state_(state),
        picture_(state.pictures[blockIdx.x]),
        n_(blockIdx.x),
        slots_(state.slots),
        age_(static_cast<int>(threadIdx.x)),
        oldest_(picture_.oldest),
        count_(picture_.count),
        alpha_(shared),
        step_(alpha_ + state.slots) {}

  // Keeps the forming pair if its y.s is more than the curvature: see lbfgs::History::absorb. Returns the product that
  // is of age 0 now.
  __device__ int absorb() {
    const double sy = product(count_, 0);
    const bool kept = sy > state_.options.curvature && isfinite(sy) && isfinite(product(count_, 1));
    if (kept && age_ <= count_) {
      const int newest = slot(count_);
      const int own = slot(age_);
      *at(state_.sy, own, newest) = *at(state_.ys, newest, own) = product(age_, 0);
      *at(state_.yy, own, newest) = *at(state_.yy, newest, own) = product(age_, 1);
    }
    const bool full = count_ + 1 == slots_;
    if (kept && full) oldest_ = slot(1);
    if (kept && !full) ++count_;
    __syncthreads();  // the picture is read before it changes, the products are there before they are used
    if (age_ == 0) {
      if (!kept) picture_.outcome = Outcome::rejected;
      picture_.oldest = oldest_;
      picture_.count = count_;
    }
    return kept && full ? 1 : 0;
  }

  // -H g in coefficients by the two-loop recursion: see lbfgs::History::direction. `first`: the product of age 0.
  __device__ void direct(int first) {
    if (count_ == 0) {
      if (age_ == 0) picture_.of_gradient = -1;
      return;
    }
    const bool own = age_ < count_;
    const int newest = slot(count_ - 1);
    const int column = slot(own ? age_ : 0);
    const double scale = *at(state_.sy, newest, newest) / *at(state_.yy, newest, newest);
    const double inverse = 1 / *at(state_.sy, column, column);
    double sum = own ? -product(age_ + first, 2) : 0.0;
    double base = own ? -product(age_ + first, 3) : 0.0;
    // From the newest pair back: alpha = rho s.q, q -= alpha y.
    if (age_ == count_ - 1) alpha_[age_] = sum * inverse;
    walk<-1>(at(state_.ys, 0, column), count_ - 1, [&](int age, double product) {
      __syncthreads();
      if (age_ >= age) return;
      sum -= alpha_[age] * product;
      if (age_ == age - 1) alpha_[age_] = sum * inverse;
    });
    __syncthreads();
    // y.(-g - sum of alpha y)
    walk<1>(at(state_.yy, 0, column), 0, [&](int age, double product) { base -= alpha_[age] * product; });
    sum = scale * base;
    // From the oldest pair on: r += s (alpha - rho y.r).
    const double alpha = own ? alpha_[age_] : 0.0;
    if (age_ == 0) step_[0] = alpha - sum * inverse;
    walk<1>(at(state_.sy, 0, column), 0, [&](int age, double product) {
      __syncthreads();
      if (age_ <= age || !own) return;
      sum += step_[age] * product;
      if (age_ == age + 1) step_[age_] = alpha - sum * inverse;
    });
    if (own) {
      state_.of_s[n_ * slots_ + age_] = static_cast<float>(step_[age_]);
      state_.of_y[n_ * slots_ + age_] = static_cast<float>(-scale * alpha);
    }
    if (age_ == 0) picture_.of_gradient = static_cast<float>(-scale);
  }

 private:
  __device__ int slot(int age) const { return around(oldest_ + age, slots_); }
  __device__ double* at(double* matrix, int row, int column) const {
    return matrix + (n_ * slots_ + row) * slots_ + column;
  }
  __device__ double product(int age, int kind) const { return state_.sums[(n_ * slots_ + age) * kKinds + kind]; }

  // Of a matrix's column, the rows of the pairs of age `first`, `first + Way` and so on.
  template <int Way>
  __device__ void read(const double* column, int first, double (&rows)[kAhead]) const {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int age = first + Way * k;
      rows[k] = age >= 0 && age < count_ && age_ < count_ ? column[slot(age) * slots_] : 0.0;
    }
  }

  // Takes a step with each row: the next ones are read before the present ones are used.
  template <int Way, class Step>
  __device__ void walk(const double* column, int first, Step step) const {
    double next[kAhead];
    read<Way>(column, first, next);
    for (int tile = first; tile >= 0 && tile < count_; tile += Way * kAhead) {
      double rows[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) rows[k] = next[k];
      read<Way>(column, tile + Way * kAhead, next);
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int age = tile + Way * k;
        if (age < 0 || age >= count_) break;
        step(age, rows[k]);
      }
    }
  }

  const State& state_;
  Picture& picture_;
  std::int64_t n_;
  int slots_, age_, oldest_, count_;
  double *alpha_, *step_;  // by age
};

}  // namespace stylogram::cuda::lbfgs
