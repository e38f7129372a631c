// Numbers of 16 bits, as they lie in memory: kernels read them as float, and round to the nearest when they write.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/host_device.h"

namespace stylogram::cuda {

struct Float16 {  // IEEE 754 binary16
  std::uint16_t bits;
};
struct BFloat16 {  // bfloat16: the upper half of a float
  std::uint16_t bits;
};

STYLOGRAM_HD inline std::uint32_t bits_of(float x) {
  std::uint32_t bits = 0;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

STYLOGRAM_HD inline float with_bits(std::uint32_t bits) {
  float x = 0;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

STYLOGRAM_HD inline float widened(float x) { return x; }
STYLOGRAM_HD inline float widened(BFloat16 x) { return with_bits(static_cast<std::uint32_t>(x.bits) << 16); }
STYLOGRAM_HD inline float widened(Float16 x) {
#ifdef __CUDA_ARCH__  // one instruction
  float wide = 0;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  const std::uint32_t size = x.bits & 0x7fffU;
  const float scaled = with_bits(size << 13) * with_bits((127 + 112) << 23);  // exact, subnormal numbers too
  const std::uint32_t bits = size >= 0x7c00U ? (size << 13) | 0x7f800000U : bits_of(scaled);
  return with_bits(bits | (x.bits & 0x8000U) << 16);
#endif
}

template <class T>
STYLOGRAM_HD inline T narrowed(float x);

template <>
STYLOGRAM_HD inline float narrowed(float x) {
  return x;
}

template <>
STYLOGRAM_HD inline BFloat16 narrowed(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  BFloat16 narrow = {};
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
  return narrow;
#else
  if (x != x) return {0x7fff};  // as that instruction has it
  const std::uint32_t bits = bits_of(x);
  return {static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};
#endif
}

template <>
STYLOGRAM_HD inline Float16 narrowed(float x) {
#ifdef __CUDA_ARCH__
  Float16 narrow = {};
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
  return narrow;
#else
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t size = bits & 0x7fffffffU;
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  std::uint32_t made = 0;
  if (size > 0x7f800000U) {
    made = 0x7e00U;  // NaN
  } else if (size >= 0x47800000U) {
    made = 0x7c00U;  // 65536 and more: infinite
  } else if (size < 0x38800000U) {
    made = bits_of(with_bits(size) + 0.5F) - bits_of(0.5F);  // below 2^-14: the sum's last bit is worth 2^-24
  } else {
    made = (size - (112U << 23) + 0xfffU + (size >> 13 & 1U)) >> 13;
  }
  return {static_cast<std::uint16_t>(sign | made)};
#endif
}

}  // namespace stylogram::cuda
