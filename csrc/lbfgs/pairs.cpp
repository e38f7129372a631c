#include "lbfgs/pairs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "simd.h"

namespace stylogram::lbfgs {
namespace {

constexpr int kTop = 14;                           // the exponent to which a block's largest number is brought
constexpr std::uint32_t kShift = 13;               // bits of a float's fraction that a half has not
constexpr std::uint32_t kBias = (127 - 15) << 10;  // between the exponents of the two, in a half's bits
constexpr float kRebias = 0x1p112F;                // the same as a factor
constexpr float kSmallest = 0x1p-14F;              // of a half with all its bits

std::int64_t padded(std::int64_t d) { return (d + 15) / 16 * 16; }

std::size_t bytes_of(std::int64_t n, std::int64_t d, std::int64_t slots, bool previous, Precision precision) {
  check(n >= 1 && d >= 1 && slots >= 2, "lbfgs", "n, d and history must be >= 1, got ", n, ", ", d, " and ", slots - 1);
  const bool whole = precision == Precision::float32;
  const std::int64_t floats = (whole ? 2 * slots : 2) + (previous ? 1 : 0);
  const std::int64_t each = floats * 4 + (whole ? 0 : 2 * slots * 2);
  return static_cast<std::size_t>(n * each * padded(d));
}

float largest(const float* v, std::int64_t length) {
  return simd::run([=]() STYLOGRAM_INLINE {
    float most = 0;
    float odd = 0;  // 0, or a NaN where something is not finite
#pragma omp simd reduction(max : most) reduction(+ : odd)
    for (std::int64_t i = 0; i < length; ++i) {
      most = std::max(most, std::fabs(v[i]));
      odd += v[i] - v[i];
    }
    return most + odd;
  });
}

// The power of two that a block's halves are to be multiplied by; NaN if something in it is not finite.
float unit_of(const float* v, std::int64_t length) {
  const float most = largest(v, length);
  if (!std::isfinite(most)) return std::numeric_limits<float>::quiet_NaN();
  if (most == 0) return 1;
  return std::ldexp(1.0F, std::clamp(std::ilogb(most) - kTop, -126, 126));
}

// To the nearest half, ties to even; none is above 2^15, and what would be subnormal is 0.
void encode(const float* v, float unit, std::uint16_t* to, std::int64_t length) {
  const float up = 1 / unit;
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) {
      const float scaled = v[i] * up;
      std::uint32_t bits = 0;
      std::memcpy(&bits, &scaled, sizeof bits);
      const std::uint32_t sign = bits >> 16 & 0x8000U;
      const std::uint32_t size = bits & 0x7fffffffU;
      const std::uint32_t half = ((size + 0xfffU + (size >> kShift & 1U)) >> kShift) - kBias;
      to[i] = static_cast<std::uint16_t>(sign | (std::fabs(scaled) < kSmallest ? 0U : half));
    }
  });
}

void decode(const std::uint16_t* from, float unit, float* to, std::int64_t length) {
  simd::run([=]() STYLOGRAM_INLINE {
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) {
      const std::uint32_t half = from[i];
      const std::uint32_t bits = (half & 0x8000U) << 16 | (half & 0x7fffU) << kShift;
      float value = 0;
      std::memcpy(&value, &bits, sizeof value);
      to[i] = value * kRebias * unit;
    }
  });
}

// The slot that comes next, into the second cache: the processor does not look beyond a page.
void ahead(const std::uint16_t* numbers, std::int64_t length) {
  constexpr std::int64_t kLine = 64 / sizeof(std::uint16_t);
  for (std::int64_t i = 0; i < length; i += kLine) __builtin_prefetch(numbers + i, 0, 2);
}

}  // namespace

Precision precision_named(const std::string& name) {
  if (name == "float16") return Precision::float16;
  check(name == "float32", "lbfgs", "precision must be float32 or float16, got '", name, "'");
  return Precision::float32;
}

Pairs::Pairs(std::int64_t n, std::int64_t d, std::int64_t slots, bool previous, const Storage& storage)
    : slots_(slots),
      stride_(padded(d)),
      blocks_((d + kBlock - 1) / kBlock),
      memory_(storage.directory.empty()
                  ? Reserved(bytes_of(n, d, slots, previous, storage.precision))
                  : Reserved(bytes_of(n, d, slots, previous, storage.precision), storage.directory)) {
  const bool whole = storage.precision == Precision::float32;
  const std::int64_t forming = n * (whole ? slots : 1) * stride_;
  forming_s_ = memory_.floats();
  forming_y_ = forming_s_ + forming;
  float* rest = forming_y_ + forming;
  if (previous) {
    previous_ = rest;
    rest += n * stride_;
  }
  if (whole) return;
  sixteen_s_ = reinterpret_cast<std::uint16_t*>(rest);
  sixteen_y_ = sixteen_s_ + n * slots * stride_;
  units_.resize(static_cast<std::size_t>(n * slots * blocks_ * 2));
}

void Pairs::fetch(const Part& part, std::int64_t slot) const {
  const auto take = [&](const void* vector, std::size_t each) {
    const auto begin = static_cast<const char*>(vector) - reinterpret_cast<const char*>(memory_.floats());
    memory_.fetch(static_cast<std::size_t>(begin), static_cast<std::size_t>(part.length) * each);
  };
  take(forming_s(part, slot), sizeof(float));
  take(forming_y(part, slot), sizeof(float));
  if (previous_ != nullptr) take(previous(part), sizeof(float));
  if (sixteen_s_ == nullptr) return;
  const std::int64_t from = (part.n * slots_ + slot) * stride_ + part.begin;
  take(sixteen_s_ + from, sizeof(std::uint16_t));
  take(sixteen_y_ + from, sizeof(std::uint16_t));
}

void Pairs::seal(const Part& part, std::int64_t slot) {
  if (sixteen_s_ == nullptr) return;
  const std::int64_t to = (part.n * slots_ + slot) * stride_ + part.begin;
  float* units = units_.data() + block(part, slot);
  float* s = forming_s(part, slot);
  float* y = forming_y(part, slot);
  units[0] = unit_of(s, part.length);
  units[1] = unit_of(y, part.length);
  encode(s, units[0], sixteen_s_ + to, part.length);
  encode(y, units[1], sixteen_y_ + to, part.length);
  decode(sixteen_s_ + to, units[0], s, part.length);
  decode(sixteen_y_ + to, units[1], y, part.length);
}

Pair Pairs::decoded(const Part& part, std::int64_t slot, Buffer& buffer) const {
  const std::int64_t from = (part.n * slots_ + slot) * stride_ + part.begin;
  const float* units = units_.data() + block(part, slot);
  const std::int64_t next = (part.n * slots_ + (slot + 1) % slots_) * stride_ + part.begin;
  ahead(sixteen_s_ + next, part.length);
  ahead(sixteen_y_ + next, part.length);
  decode(sixteen_s_ + from, units[0], buffer.s, part.length);
  decode(sixteen_y_ + from, units[1], buffer.y, part.length);
  return {buffer.s, buffer.y};
}

}  // namespace stylogram::lbfgs
