// The vectors of L-BFGS: of each picture its pairs (s, y) by slot, the one being formed, and the previous point.
//
// In float32 the forming pair lies in its slot. In float16 it lies by itself in float32, and seal() puts it into its
// slot, rounded: every product is of the rounded vectors, so that rounding makes other pairs, but no pair and product
// that contradict each other. Each block of kBlock numbers has a power of two of its own, which brings the largest to
// 2^14 or more: what is above 2^-28 of the largest keeps all 11 bits, what is below becomes 0, and nothing overflows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "reserve.h"

namespace stylogram::lbfgs {

enum class Precision { float32, float16 };
/// By its name. Throws for others.
Precision precision_named(const std::string& name);

/// How the vectors are kept: of what type the pairs are, and in which directory a file has them (empty: in memory).
struct Storage {
  Precision precision = Precision::float32;
  std::string directory;
};

constexpr std::int64_t kBlock = 2048;         // numbers whose y and g stay in the first cache while the pairs pass by
constexpr std::int64_t kFetch = 16 * kBlock;  // numbers of a vector that are read from a file at once

/// Some numbers of a pair.
struct Pair {
  const float* s;
  const float* y;
};

/// Numbers [begin, begin + length) of picture n; of seal() and load() within one block.
struct Part {
  std::int64_t n, begin, length;
};

/// Where load() puts what is not in float32.
struct alignas(64) Buffer {
  float s[kBlock], y[kBlock];
};

class Pairs {
 public:
  /// N pictures of d numbers, each with `slots` slots. `previous`: whether the previous point is kept as well.
  Pairs(std::int64_t n, std::int64_t d, std::int64_t slots, bool previous, const Storage& storage);

  /// The forming pair, which belongs to `slot`, from the part's beginning on.
  float* forming_s(const Part& part, std::int64_t slot) const { return forming_s_ + place(part, slot); }
  float* forming_y(const Part& part, std::int64_t slot) const { return forming_y_ + place(part, slot); }
  /// The previous point; null if it is not kept.
  float* previous(const Part& part) const {
    return previous_ == nullptr ? nullptr : previous_ + part.n * stride_ + part.begin;
  }
  /// Makes a part of the forming pair what load() gives of `slot`, in the forming pair as well.
  void seal(const Part& part, std::int64_t slot);
  Pair load(const Part& part, std::int64_t slot, Buffer& buffer) const {
    if (sixteen_s_ == nullptr) return {forming_s(part, slot), forming_y(part, slot)};
    return decoded(part, slot, buffer);
  }
  bool in_file() const { return memory_.in_file(); }
  /// Of vectors in a file: a part, of any length, of this slot and of what is beside the slots is about to be used.
  void fetch(const Part& part, std::int64_t slot) const;
  std::size_t bytes() const { return memory_.bytes(); }

 private:
  std::int64_t place(const Part& part, std::int64_t slot) const {
    return (sixteen_s_ == nullptr ? part.n * slots_ + slot : part.n) * stride_ + part.begin;
  }
  Pair decoded(const Part& part, std::int64_t slot, Buffer& buffer) const;
  std::size_t block(const Part& part, std::int64_t slot) const {
    return static_cast<std::size_t>(((part.n * slots_ + slot) * blocks_ + part.begin / kBlock) * 2);
  }

  std::int64_t slots_, stride_, blocks_;
  Reserved memory_;
  float *forming_s_, *forming_y_;       // (n, slots, stride), in float16 (n, stride)
  float* previous_ = nullptr;           // (n, stride)
  std::uint16_t* sixteen_s_ = nullptr;  // (n, slots, stride); null in float32
  std::uint16_t* sixteen_y_ = nullptr;  // (n, slots, stride)
  std::vector<float> units_;            // (n, slots, blocks, 2): what a block's halves of s and of y are multiplied by
};

}  // namespace stylogram::lbfgs
