// How a streaming kernel cuts N pictures of `size` elements into parts, and adds up what the parts have summed.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "scratch.h"

namespace stylogram {

/// The cut of `size` elements into `count` slices of `length` (the last may be shorter), at multiples of `unit`.
/// It depends on the size of one picture alone: a batch gives each picture what it gets alone, to the bit.
struct Slices {
  std::int64_t size, length, count;

  Slices(std::int64_t size, std::int64_t smallest, std::int64_t most, std::int64_t unit = 16) : size(size) {
    const std::int64_t wanted = std::max(smallest, (size + most - 1) / most);
    length = (wanted + unit - 1) / unit * unit;
    count = (size + length - 1) / length;
  }
  std::int64_t begin(std::int64_t slice) const { return slice * length; }
  std::int64_t end(std::int64_t slice) const { return std::min(size, (slice + 1) * length); }
};

/// value[n] += the sum over the slices of body(n, slice), each slice of each picture a part of a parallel_for.
template <class Body>
void sum_over_slices(std::int64_t pictures, std::int64_t slices, double* value, const Body& body) {
  thread_local Scratch<double> scratch;
  double* sums = scratch.get(static_cast<std::size_t>(pictures * slices));
  parallel_for(pictures * slices, [&](std::int64_t part) { sums[part] = body(part / slices, part % slices); });
  for (std::int64_t n = 0; n < pictures; ++n) {
    double total = 0;
    for (std::int64_t slice = 0; slice < slices; ++slice) total += sums[n * slices + slice];
    value[n] += total;
  }
}

}  // namespace stylogram
