// A step is five launches, however long the history: the gradient's norm and what is to be done; the new pair's y and
// its products with all pairs; their sums; the recursion over scalars; and the vectors' combination. What differs
// between pictures and steps is read on the GPU.
#include <cmath>
#include <vector>

#include "cuda/plan.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "cuda/states.h"
#include "lbfgs/move.h"
#include "lbfgs/recursion.h"
#include "ops/lbfgs.h"

namespace stylogram::cuda {
namespace {

using namespace lbfgs;

constexpr int kMostHalvings = 10;
constexpr std::int64_t kMostSlots = 1024;  // threads of the recursion: one for each pair
constexpr int kTop = 14;                   // the exponent to which a chunk's largest number is brought in float16
constexpr float kSmallest = 0x1p-14F;      // of a half with all its bits; what is below is 0
// Blocks of form_products that a multiprocessor is to hold: on 132 of them 512x512 is one wave with 6, where they fit.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
constexpr int kResident = 6;
#else
constexpr int kResident = 0;  // not said
#endif

STYLOGRAM_HD constexpr Cut product_slices(std::int64_t d) { return Cut(d, kChunk, 1024, kChunk); }

// What to do with a picture, before any pair is looked at: see ops::Lbfgs::choose.
__device__ void choose(Picture& picture, const double* value, const Options& options) {
  const bool finite = isfinite(picture.norm);
  if (options.backtrack && picture.has_previous != 0) {
    const double most = picture.previous_value + options.tolerance * fabs(picture.previous_value);
    if (!finite || !isfinite(*value) || *value > most) {
      picture.outcome = ++picture.halvings > kMostHalvings ? Outcome::restarted : Outcome::halved;
      return;
    }
  }
  if (!finite || (options.backtrack && !isfinite(*value))) {
    picture.outcome = Outcome::not_finite;
    return;
  }
  picture.outcome = picture.has_previous != 0 ? Outcome::kept : Outcome::first;
  picture.previous_value = value == nullptr ? 0 : *value;
}

__global__ void __launch_bounds__(kThreads)
    measure(State state, const float* gradient, const double* value, double* partials, unsigned* counters) {
  const Cut cut = streaming(state.d);
  const std::int64_t n = blockIdx.y;
  const std::int64_t end = cut.end(blockIdx.x);
  double sum = 0;
#pragma unroll 4
  for (std::int64_t i = cut.begin(blockIdx.x) + threadIdx.x; i < end; i += kThreads) {
    sum += static_cast<double>(fabsf(gradient[n * state.d + i]));
  }
  double norm = 0;
  if (!sum_over_blocks<kThreads>(sum, partials, counters, &norm) || threadIdx.x != 0) return;
  state.pictures[n].norm = norm;
  choose(state.pictures[n], value == nullptr ? nullptr : value + n, state.options);
}

struct alignas(8) FourHalves {
  Float16 values[4];
};
__device__ float4 four(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ float4 four(const Float16* from) {
  const FourHalves found = *reinterpret_cast<const FourHalves*>(from);
  return {widened(found.values[0]), widened(found.values[1]), widened(found.values[2]), widened(found.values[3])};
}

// The products of one pair with y and g in shared memory, by one warp: lanes sum in float, chunks are summed in double.
template <class S, class Y>
__device__ void add_products(const S* s, const Y* y, const float* new_y, const float* g, float unit_s, float unit_y,
                             double* sums) {
  float products[kKinds] = {};
#pragma unroll
  for (int j = 0; j < kChunk / 128; ++j) {
    const int i = j * 128 + 4 * static_cast<int>(threadIdx.x % 32);
    const float4 s4 = four(s + i);
    const float4 y4 = four(y + i);
    const float4 n4 = four(new_y + i);
    const float4 g4 = four(g + i);
    products[0] += s4.x * n4.x + s4.y * n4.y + (s4.z * n4.z + s4.w * n4.w);
    products[1] += y4.x * n4.x + y4.y * n4.y + (y4.z * n4.z + y4.w * n4.w);
    products[2] += s4.x * g4.x + s4.y * g4.y + (s4.z * g4.z + s4.w * g4.w);
    products[3] += y4.x * g4.x + y4.y * g4.y + (y4.z * g4.z + y4.w * g4.w);
  }
#pragma unroll
  for (int kind = 0; kind < kKinds; ++kind) {
    const float sum = warp_sum(products[kind]) * (kind % 2 == 0 ? unit_s : unit_y);
    if (threadIdx.x % 32 == 0) sums[kind] += static_cast<double>(sum);
  }
}

// The power of two by which a chunk's halves are to be multiplied; NaN if something in it is not finite.
__device__ float unit_of(float largest) {
  if (!(largest < INFINITY)) return NAN;
  if (largest == 0) return 1;
  const int exponent = static_cast<int>(bits_of(largest) >> 23) - 127 - kTop;
  return with_bits(static_cast<std::uint32_t>((exponent < -126 ? -126 : exponent) + 127) << 23);
}

// Puts a chunk in shared memory into float16, and leaves there what float16 has of it.
__device__ void seal(float* values, Float16* to, float* unit) {
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < kChunk; i += kThreads) {
    largest = fmaxf(largest, isfinite(values[i]) ? fabsf(values[i]) : INFINITY);
  }
  const float power = unit_of(block_max<kThreads>(largest));
  for (int i = static_cast<int>(threadIdx.x); i < kChunk; i += kThreads) {
    const float scaled = values[i] * (1 / power);
    to[i] = narrowed<Float16>(fabsf(scaled) < kSmallest ? 0.0F : scaled);
    values[i] = power * widened(to[i]);
  }
  if (threadIdx.x == 0) *unit = power;
}

// partials (n, slots, kinds, slices), by age. From the newest pair back: `move` goes on with the oldest ones, which the
// cache has just got, and leaves it the newest.
template <bool Half>
__global__ void __launch_bounds__(kThreads, Half ? kResident : 0)
    form_products(State state, const float* gradient, double* partials) {
  __shared__ __align__(16) float g[kChunk];
  __shared__ __align__(16) float new_y[kChunk];
  __shared__ __align__(16) float new_s[Half ? kChunk : 4];
  STYLOGRAM_SHARED(double, sums);  // (slots, kinds)
  const std::int64_t n = blockIdx.y;
  const Picture& picture = state.pictures[n];
  if (picture.outcome != Outcome::kept) return;
  const int ages = picture.count + 1;
  const Cut cut = product_slices(state.d);
  for (int i = static_cast<int>(threadIdx.x); i < ages * kKinds; i += kThreads) sums[i] = 0;
  const int forming = picture.forming(state.slots);
  float* stored_y = state.forming_y(n, forming);
  const std::int64_t end = cut.end(blockIdx.x);
  for (std::int64_t begin = cut.begin(blockIdx.x); begin < end; begin += kChunk) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kChunk; i += kThreads) {
      const std::int64_t at = begin + i;
      const float slope = at < end ? gradient[n * state.d + at] : 0.0F;
      const float change = at < end ? slope - stored_y[at] : 0.0F;
      g[i] = slope;
      new_y[i] = change;
      if (Half) {
        new_s[i] = at < end ? state.forming_s(n, forming)[at] : 0.0F;
      } else {
        stored_y[at] = change;  // vectors are padded to whole chunks
      }
    }
    __syncthreads();
    if (Half) {
      float* units = state.unit(n, forming, begin);
      seal(new_s, state.halves_s(n, forming) + begin, units);
      seal(new_y, state.halves_y(n, forming) + begin, units + 1);
      __syncthreads();
    }
    for (int age = ages - 1 - static_cast<int>(threadIdx.x / 32); age >= 0; age -= static_cast<int>(kThreads / 32)) {
      const int slot = picture.slot(age, state.slots);
      double* own = sums + age * kKinds;
      if (!Half) {
        const float* y = age + 1 == ages ? new_y : state.pair_y(n, slot) + begin;
        add_products(state.pair_s(n, slot) + begin, y, new_y, g, 1, 1, own);
      } else if (age + 1 == ages) {
        add_products(new_s, new_y, new_y, g, 1, 1, own);
      } else {
        const float* units = state.unit(n, slot, begin);
        add_products(state.halves_s(n, slot) + begin, state.halves_y(n, slot) + begin, new_y, g, units[0], units[1],
                     own);
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < ages * kKinds; i += kThreads) {
    partials[(n * state.slots * kKinds + i) * gridDim.x + blockIdx.x] = sums[i];
  }
}

// A warp for each product of each picture.
__global__ void __launch_bounds__(kThreads) add_up(State state, const double* partials, std::int64_t slices) {
  const std::int64_t n = blockIdx.y;
  const Picture& picture = state.pictures[n];
  const std::int64_t number = static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (picture.outcome != Outcome::kept || number >= (picture.count + 1) * kKinds) return;
  const double* own = partials + (n * state.slots * kKinds + number) * slices;
  double sum = 0;
#pragma unroll 8
  for (std::int64_t i = threadIdx.x % 32; i < slices; i += 32) sum += own[i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) state.sums[n * state.slots * kKinds + number] = sum;
}

__device__ void start_along_gradient(Picture& picture, double norm, const State& state) {
  picture.oldest = picture.forming(state.slots);  // the forming pair stays where it is
  picture.count = 0;
  picture.of_gradient = -1;
  picture.length = static_cast<float>((norm > 1 ? 1 / norm : 1.0) * state.options.learning_rate);
  picture.halvings = 0;
}

__global__ void __launch_bounds__(kMostSlots) solve(State state) {
  STYLOGRAM_SHARED(double, scalars);
  Picture& picture = state.pictures[blockIdx.x];
  const Outcome outcome = picture.outcome;
  if (outcome == Outcome::kept) {
    Recursion recursion(state, scalars);
    recursion.direct(recursion.absorb());
  }
  if (threadIdx.x != 0 || outcome == Outcome::halved || outcome == Outcome::not_finite) return;
  if (outcome == Outcome::first) start_along_gradient(picture, picture.norm, state);
  if (outcome == Outcome::restarted) start_along_gradient(picture, picture.previous_norm, state);
  if (outcome == Outcome::kept) {
    picture.length = static_cast<float>(state.options.learning_rate);
    picture.halvings = 0;
  }
  if (outcome != Outcome::restarted) picture.previous_norm = picture.norm;
  picture.has_previous = 1;
}

class Lbfgs final : public LbfgsState {
 public:
  Lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options, Precision precision)
      : vectors_("lbfgs", vector_bytes(n, d, history, options, precision)),
        scalars_("lbfgs", scalar_bytes(n, history)) {
    const std::int64_t slots = history + 1;
    state_.n = n;
    state_.d = d;
    state_.stride = padded(d);
    state_.slots = static_cast<int>(slots);
    state_.options = options;
    const bool half = precision == Precision::float16;
    const std::int64_t floats = n * (half ? 1 : slots) * state_.stride;
    state_.s = vectors_.as<float>();
    state_.y = state_.s + floats;
    float* rest = state_.y + floats;
    state_.previous = options.backtrack ? rest : nullptr;
    if (options.backtrack) rest += n * state_.stride;
    if (half) {
      state_.units = rest;
      state_.half_s = reinterpret_cast<Float16*>(rest + n * slots * state_.stride / kChunk * 2);
      state_.half_y = state_.half_s + n * slots * state_.stride;
    }
    state_.sy = scalars_.as<double>();
    state_.ys = state_.sy + n * slots * slots;
    state_.yy = state_.ys + n * slots * slots;
    state_.sums = state_.yy + n * slots * slots;
    state_.of_s = reinterpret_cast<float*>(state_.sums + n * slots * kKinds);
    state_.of_y = state_.of_s + n * slots;
    state_.pictures = reinterpret_cast<Picture*>(state_.sums + n * slots * (kKinds + 1));
    for (const Memory* memory : {&vectors_, &scalars_}) {
      require(cudaMemsetAsync(memory->as<void>(), 0, memory->bytes(), nullptr), "lbfgs", "clearing its state");
    }
    require(cudaStreamSynchronize(nullptr), "lbfgs", "clearing its state");
  }

  void step(float* x, const float* gradient, const double* value, Stream stream) override {
    check(!state_.options.backtrack || value != nullptr, "lbfgs", "backtrack needs the value");
    const char* op = "lbfgs";
    const std::int64_t slices = product_slices(state_.d).count;
    const auto slots = static_cast<std::size_t>(state_.slots);
    const auto count = static_cast<std::size_t>(state_.n);
    const std::int64_t norms = streaming(state_.d).count;
    const std::size_t products = count * slots * kKinds * static_cast<std::size_t>(slices);
    const Workspace work = workspace(op, stream, products + count * static_cast<std::size_t>(norms), count);
    launch(op, measure, grid(op, norms, state_.n), kThreads, 0, stream, state_, gradient, value,
           work.doubles + products, work.counters);
    const bool half = state_.half_s != nullptr;
    launch(op, half ? form_products<true> : form_products<false>, grid(op, slices, state_.n), kThreads,
           slots * kKinds * sizeof(double), stream, state_, gradient, work.doubles);
    launch(op, add_up, grid(op, ceil_div(state_.slots * kKinds, kThreads / 32), state_.n), kThreads, 0, stream, state_,
           work.doubles, slices);
    launch(op, solve, dim3(static_cast<unsigned>(state_.n)), static_cast<unsigned>(ceil_div(state_.slots, 32) * 32),
           2 * slots * sizeof(double), stream, state_);
    launch(op, half ? move<Float16> : move<float>, grid(op, move_slices(state_.d).count, state_.n),
           half ? kMovers<Float16> : kMovers<float>, 2 * slots * sizeof(float), stream, state_, x, gradient);
  }

  void look(std::int64_t* counts, Outcome* outcomes, Stream stream) const override {
    std::vector<Picture> pictures(static_cast<std::size_t>(state_.n));
    require(cudaMemcpyAsync(pictures.data(), state_.pictures, pictures.size() * sizeof(Picture), cudaMemcpyDeviceToHost,
                            handle(stream)),
            "lbfgs", "reading its state");
    require(cudaStreamSynchronize(handle(stream)), "lbfgs", "reading its state");
    for (std::size_t n = 0; n < pictures.size(); ++n) {
      counts[n] = pictures[n].count;
      outcomes[n] = pictures[n].outcome;
    }
  }

  std::size_t bytes() const override { return vectors_.bytes(); }

 private:
  static std::int64_t padded(std::int64_t d) { return ceil_div(d, kChunk) * kChunk; }

  static std::size_t vector_bytes(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options,
                                  Precision precision) {
    check(n >= 1 && d >= 1 && history >= 1 && history < kMostSlots, "lbfgs", "n and d >= 1 and history from 1 to ",
          kMostSlots - 1, " are accepted, got ", n, ", ", d, " and ", history);
    const bool half = precision == Precision::float16;
    const std::int64_t slots = history + 1;
    const std::int64_t floats = (half ? 2 : 2 * slots) + (options.backtrack ? 1 : 0);
    const auto each = [&](std::int64_t count) { return static_cast<std::size_t>(n * count * padded(d)); };
    const std::size_t whole = each(floats) * sizeof(float);
    return half ? whole + 2 * each(slots) * sizeof(Float16) + 2 * each(slots) / kChunk * sizeof(float) : whole;
  }

  static std::size_t scalar_bytes(std::int64_t n, std::int64_t history) {
    const std::int64_t slots = history + 1;
    const std::int64_t doubles = n * slots * (3 * slots + kKinds + 1);
    return static_cast<std::size_t>(doubles) * sizeof(double) + static_cast<std::size_t>(n) * sizeof(Picture);
  }

  Memory vectors_, scalars_;
  State state_{};
};

LbfgsState* make_lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, const Options& options,
                       Precision precision) {
  return new Lbfgs(n, d, history, options, precision);
}

const Registration here("make_lbfgs", &make_lbfgs);

}  // namespace
}  // namespace stylogram::cuda
