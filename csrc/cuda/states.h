// Objects that live on a GPU, as the CPU's part sees them. Whatever is asked of one waits for its stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dispatch.h"
#include "ops/adam.h"
#include "ops/lbfgs.h"

namespace stylogram::cuda {

/// ops::Lbfgs with all its state on the GPU, its pairs in float32 or float16: a step is the same few launches each
/// time, and can be captured.
class LbfgsState {
 public:
  virtual ~LbfgsState() = default;
  virtual void step(float* x, const float* gradient, const double* value, Stream stream) = 0;
  /// How many pairs each picture has, and what the last step did with it; both (n), on the host.
  virtual void look(std::int64_t* counts, ops::Lbfgs::Outcome* outcomes, Stream stream) const = 0;
  virtual std::size_t bytes() const = 0;
};
using MakeLbfgs = LbfgsState*(std::int64_t n, std::int64_t d, std::int64_t history, const ops::Lbfgs::Options& options,
                              lbfgs::Precision precision);

/// ops::Adam; the number of steps is on the GPU too. The rate is learning_rate decay^(steps / decay_every).
class AdamState {
 public:
  virtual ~AdamState() = default;
  virtual void step(float* x, const float* gradient, Stream stream) = 0;
};
struct Decay {
  double factor = 1;
  double every = 1;
};
using MakeAdam = AdamState*(std::int64_t n, std::int64_t d, const ops::Adam::Options& options, const Decay& decay);

/// ops::Pyramid.
class PyramidState {
 public:
  virtual ~PyramidState() = default;
  /// out = S in, or base + S in. `out` may be one of the others.
  virtual void apply(const float* in, const float* base, float* out, Stream stream) = 0;
  virtual std::int64_t levels() const = 0;
};
using MakePyramid = PyramidState*(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels,
                                  double growth);

/// What a run keeps after each evaluation; all arrays are on the GPU.
struct Course {
  std::int64_t n, d, terms;
  const float* picture;       // (N, D)
  const float* gradient;      // (N, D)
  const double* values;       // (terms, N)
  double* total;              // (N): set
  float* best;                // (N, D): the picture whose total was the least
  double* least;              // (N)
  const std::int32_t* going;  // (N): where it is 0, best stays
  std::int64_t rows;          // of the record, which is filled from the first row on, again and again
  double* record;             // (rows, terms + 2, N): values, total, and 1 where total and gradient are finite, else 0
  std::int64_t* evaluations;  // (1): how many there were
  std::int32_t* better;       // (N): scratch
};
using Follow = void(const Course& course, Stream stream);
/// x is put between low and high; a NaN stays.
using Clip = void(std::int64_t size, float* x, float low, float high, Stream stream);

}  // namespace stylogram::cuda
