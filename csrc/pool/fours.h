// Pools whose windows are 2x2 places and lie side by side: strides of 2, no pads. A place is in one window at most, so
// a thread reads some whole windows at once and makes all that depends on them, with the bits of the kernels for any
// window: average.cu and max.cu say what, this file where.
#pragma once

#include "cuda/narrow.h"
#include "cuda/pack.h"
#include "cuda/plan.h"
#include "cuda/runtime.h"
#include "pool/windows.h"

namespace stylogram::cuda {

// What a thread takes. Channels last: one window of a Pack of channels. First: the windows of a Pack of each of two
// rows, or one, where rows are no whole Packs.
enum class Form { last, row, one };

template <class T, Form F>
constexpr int kLanes = F == Form::last  ? Pack<T>::kCount
                       : F == Form::row ? Pack<T>::kCount / 2
                                        : 1;

// Numbers that are read or written at once.
template <class T, int N>
struct alignas(N * sizeof(T)) Lanes {
  T values[N];
};

// Of N windows the places above on the left, on the right, below on the left and on the right.
template <class T, int N>
struct Fours {
  Lanes<T, N> places[4];
};

// Divides what is below 2^31 by a number that the host knows, in a few instructions.
class Divisor {
 public:
  explicit Divisor(std::int64_t by) : by_(static_cast<unsigned>(by)) {
    while (std::int64_t{1} << shift_ < by) ++shift_;
    factor_ = static_cast<unsigned>(ceil_div(std::int64_t{1} << (31 + shift_), by));  // by (factor - exact) < 2^shift
  }
  // The quotient; `at` becomes the rest.
  __device__ unsigned split(unsigned& at) const {
    const unsigned quotient = static_cast<unsigned>(static_cast<std::uint64_t>(2 * at) * factor_ >> 32) >> shift_;
    at -= quotient * by_;
    return quotient;
  }

 private:
  unsigned by_, factor_ = 0, shift_ = 0;
};

// The threads, numbered plane by plane, row by row, column by column, pack by pack, and what they find in a plane.
struct Tiling {
  Divisor rows, columns, packs;
  unsigned threads;
  unsigned height, width, out_height;
  unsigned step, line, out_line;  // numbers from a column to the next, from a row of x, and from one of y
};

// What one thread takes.
template <class T, Form F>
class Cell {
 public:
  static constexpr int kCount = kLanes<T, F>;
  using Values = Lanes<T, kCount>;

  __device__ Cell(const Tiling& t, unsigned at) : step_(F == Form::last ? t.step : 1), line_(t.line) {
    const unsigned first = F == Form::last ? rest(t.packs, at) * kCount : 0;
    const unsigned x = rest(t.columns, at);
    const unsigned y = rest(t.rows, at);
    const unsigned across = (F == Form::last ? 1 : kCount) * x * step_;
    input_ = static_cast<std::uint64_t>(at * t.height + 2 * y) * t.line + (2 * across + first);
    output_ = static_cast<std::uint64_t>(at * t.out_height + y) * t.out_line + (across + first);
    below_ = 2 * y + 1 < t.height;
    right_ = F == Form::row || 2 * x + 1 < t.width;
  }

  // Whether there are windows: not in an odd last row or column.
  __device__ bool whole() const { return below_ && right_; }

  __device__ Values output(const void* y) const {
    return *reinterpret_cast<const Values*>(static_cast<const T*>(y) + output_);
  }
  __device__ void set_output(void* y, const Values& values) const {
    *reinterpret_cast<Values*>(static_cast<T*>(y) + output_) = values;
  }

  __device__ Fours<T, kCount> input(const void* from) const {
    const T* x = static_cast<const T*>(from) + input_;
    Fours<T, kCount> made;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if constexpr (F != Form::row) {
        made.places[k] = *reinterpret_cast<const Values*>(x + k / 2 * line_ + k % 2 * step_);
      } else if (k % 2 == 0) {
        const Pack<T> line = *reinterpret_cast<const Pack<T>*>(x + k / 2 * line_);
#pragma unroll
        for (int i = 0; i < 2 * kCount; ++i) made.places[k + i % 2].values[i / 2] = line.values[i];
      }
    }
    return made;
  }
  // In an odd last row or column the places that there are.
  __device__ void set_input(void* to, const Fours<T, kCount>& given) const {
    T* x = static_cast<T*>(to) + input_;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if ((k / 2 == 1 && !below_) || (k % 2 == 1 && !right_)) continue;
      if constexpr (F != Form::row) {
        *reinterpret_cast<Values*>(x + k / 2 * line_ + k % 2 * step_) = given.places[k];
      } else if (k % 2 == 0) {
        Pack<T> line;
#pragma unroll
        for (int i = 0; i < 2 * kCount; ++i) line.values[i] = given.places[k + i % 2].values[i / 2];
        *reinterpret_cast<Pack<T>*>(x + k / 2 * line_) = line;
      }
    }
  }

 private:
  // What is left of `at`, which becomes the quotient.
  __device__ static unsigned rest(const Divisor& divisor, unsigned& at) {
    unsigned left = at;
    at = divisor.split(left);
    return left;
  }

  unsigned step_, line_;
  std::uint64_t input_, output_;  // the first number's place
  bool below_, right_;
};

template <class Work, class T, Form F, class Given>
__global__ void __launch_bounds__(kThreads) fours_kernel(Given p, Tiling tiling) {
  const unsigned at = blockIdx.x * kThreads + threadIdx.x;
  if (at < tiling.threads) Work::run(p, Cell<T, F>(tiling, at));
}

template <class Work, class T, class Given>
bool launch_fours(const char* op, const Given& p, bool aligned, Stream stream) {
  const pool::Windows& w = p.windows;
  const bool last = p.channels != 1;
  if (last && !(aligned && p.channels % Pack<T>::kCount == 0)) return false;
  const Form form = last ? Form::last : aligned && w.width % Pack<T>::kCount == 0 ? Form::row : Form::one;
  const std::int64_t packs = last ? p.channels / Pack<T>::kCount : 1;
  const std::int64_t places = form == Form::row ? Pack<T>::kCount : 2;  // of a row of x that a thread takes
  const std::int64_t columns = Work::kGradient ? ceil_div(w.width, places) : w.width / places;
  const std::int64_t rows = Work::kGradient ? ceil_div(w.height, 2) : w.out_height;
  const std::int64_t threads = p.planes * rows * columns * packs;
  const std::int64_t line = w.width * p.channels;
  if (threads == 0) return true;
  if (most(threads, line) >= std::int64_t{1} << 30) return false;  // all but places is counted in 32 bits
  const auto count = [](std::int64_t n) { return static_cast<unsigned>(n); };
  const Tiling tiling = {
      Divisor(rows),  Divisor(columns),    Divisor(packs),    count(threads), count(w.height),
      count(w.width), count(w.out_height), count(p.channels), count(line),    count(w.out_width * p.channels)};
  const auto kernel = form == Form::last  ? fours_kernel<Work, T, Form::last, Given>
                      : form == Form::row ? fours_kernel<Work, T, Form::row, Given>
                                          : fours_kernel<Work, T, Form::one, Given>;
  launch(op, kernel, grid(op, ceil_div(threads, kThreads), 1), kThreads, 0, stream, p, tiling);
  return true;
}

/// Launches the kernel in which threads do `Work`, or returns false: the windows are others, or lie as it cannot read.
/// Work::kGradient: whether x is what is made. `aligned`: all addresses are multiples of 16.
template <class Work, class Given>
bool launch_fours(const char* op, const Given& p, bool aligned, Stream stream) {
  const pool::Windows& w = p.windows;
  const bool fours = w.kernel.y == 2 && w.kernel.x == 2 && w.strides.y == 2 && w.strides.x == 2 && w.before.y == 0 &&
                     w.before.x == 0 && w.out_height == w.height / 2 && w.out_width == w.width / 2;
  if (!fours) return false;
  if (p.number == Number::float32) return launch_fours<Work, float>(op, p, aligned, stream);
  if (p.number == Number::float16) return launch_fours<Work, Float16>(op, p, aligned, stream);
  return launch_fours<Work, BFloat16>(op, p, aligned, stream);
}

}  // namespace stylogram::cuda
