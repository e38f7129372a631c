// Products of 32 x 32 blocks by one warp, 16 deep at a time, on tensor cores.
//
// A lane of group g = lane / 4 and thread t = lane % 4 holds, of a left operand of 16 rows, the rows g and g + 8, and
// of a right operand of 8 columns, the column g; of the depth, the places t, t + 4, t + 8 and t + 12. The order along
// the depth does not matter as long as both sides have the same. Results: rows g and g + 8, columns 2 t and 2 t + 1.
// (PTX ISA, "Matrix fragments for mma.m16n8k8 with .tf32" and "... for mma.m16n8k16 with floating point type".)
#pragma once

#include <type_traits>

#include "cuda/host_device.h"
#include "cuda/narrow.h"
#include "cuda/runtime.h"

namespace stylogram::cuda {

// GPUs before compute capability 8.0 know neither TF32 nor bfloat16: there the products are float32's.
#if defined(STYLOGRAM_EMULATED)
#define STYLOGRAM_TENSOR_CORES (STYLOGRAM_EMULATED >= 800)
#elif defined(__CUDA_ARCH__)
#define STYLOGRAM_TENSOR_CORES (__CUDA_ARCH__ >= 800)
#else
#define STYLOGRAM_TENSOR_CORES 1
#endif

/// Where a number of a warp's block lies: `index` counts the 32 numbers of a lane, [2][4][4].
struct Lane {
  STYLOGRAM_HD static constexpr int row(int lane, int index) { return index / 16 * 16 + lane / 4 + index % 4 / 2 * 8; }
  STYLOGRAM_HD static constexpr int column(int lane, int index) {
    return index % 16 / 4 * 8 + lane % 4 * 2 + index % 2;
  }
};

#if STYLOGRAM_TENSOR_CORES && !defined(STYLOGRAM_EMULATED)

__device__ __forceinline__ std::uint32_t to_tf32(float x) {
  std::uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint32_t to_bf16x2(float low, float high) {
  std::uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

__device__ __forceinline__ float from_tf32(std::uint32_t x) { return __uint_as_float(x); }

__device__ __forceinline__ void mma_tf32(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_f16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four matrices of 8 x 8 numbers of 16 bits, of whose rows a lane names one: lane l row l % 8 of matrix l / 8. Of each
/// a lane gets the numbers (g, 2 t) and (g, 2 t + 1), or, turned, (2 t, g) and (2 t + 1, g).
template <bool Turned>
__device__ __forceinline__ void load_matrices(std::uint32_t (&d)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (Turned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
  }
}

#elif STYLOGRAM_TENSOR_CORES
using emulator::from_tf32;
using emulator::load_matrices;
using emulator::mma_bf16;
using emulator::mma_f16;
using emulator::mma_tf32;
using emulator::to_bf16x2;
using emulator::to_tf32;
#endif

#if STYLOGRAM_TENSOR_CORES

/// The maths of a product: what becomes of a lane's numbers, left [slot][row g, g + 8] and right [slot], and a product.
struct Tf32 {
  static constexpr bool kPromotes = false;
  struct Left {
    std::uint32_t v[8];
  };
  struct Right {
    std::uint32_t v[4];
  };
  static __device__ __forceinline__ Left left(const float (&x)[8]) {
    Left made;
#pragma unroll
    for (int i = 0; i < 8; ++i) made.v[i] = to_tf32(x[i]);
    return made;
  }
  static __device__ __forceinline__ Right right(const float (&x)[4]) {
    Right made;
#pragma unroll
    for (int i = 0; i < 4; ++i) made.v[i] = to_tf32(x[i]);
    return made;
  }
  static __device__ __forceinline__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_tf32(d, a.v, b.v);
    mma_tf32(d, a.v + 4, b.v + 2);
  }
};

/// x = big + small, both TF32: the product of two small parts, 2^-22 of the whole, is left out.
struct Exact {
  static constexpr bool kPromotes = true;  // tensor cores round their sums towards zero: short ones only
  struct Left {
    Tf32::Left big, small;
  };
  struct Right {
    Tf32::Right big, small;
  };
  static __device__ __forceinline__ Left left(const float (&x)[8]) {
    Left made;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      made.big.v[i] = to_tf32(x[i]);
      made.small.v[i] = to_tf32(x[i] - from_tf32(made.big.v[i]));
    }
    return made;
  }
  static __device__ __forceinline__ Right right(const float (&x)[4]) {
    Right made;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      made.big.v[i] = to_tf32(x[i]);
      made.small.v[i] = to_tf32(x[i] - from_tf32(made.big.v[i]));
    }
    return made;
  }
  static __device__ __forceinline__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    Tf32::multiply(d, a.small, b.big);
    Tf32::multiply(d, a.big, b.small);
    Tf32::multiply(d, a.big, b.big);
  }
};

struct Bf16 {
  static constexpr bool kPromotes = false;
  struct Left {
    std::uint32_t v[4];
  };
  struct Right {
    std::uint32_t v[2];
  };
  static __device__ __forceinline__ Left left(const float (&x)[8]) {
    return {{to_bf16x2(x[0], x[2]), to_bf16x2(x[1], x[3]), to_bf16x2(x[4], x[6]), to_bf16x2(x[5], x[7])}};
  }
  static __device__ __forceinline__ Right right(const float (&x)[4]) {
    return {{to_bf16x2(x[0], x[1]), to_bf16x2(x[2], x[3])}};
  }
  static __device__ __forceinline__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_bf16(d, a.v, b.v);
  }
};

/// sums [2][4][4] += left (32, Depth) right (Depth, 32); left(row, k) and right(k, column) read shared memory.
template <class M, int Depth, class Left, class Right>
__device__ __forceinline__ void warp_multiply(float (&sums)[2][4][4], const Left& left, const Right& right) {
  const int g = static_cast<int>(threadIdx.x % 32) / 4;
  const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int k = 0; k < Depth; k += 16) {
    typename M::Left a[2];
    typename M::Right b[4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float raw[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) raw[e] = left(16 * i + g + e % 2 * 8, k + t + e / 2 * 4);
      a[i] = M::left(raw);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float raw[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) raw[e] = right(k + t + 4 * e, 8 * j + g);
      b[j] = M::right(raw);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) M::multiply(sums[i][j], a[i], b[j]);
    }
  }
}

__device__ __forceinline__ void mma(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b, BFloat16) {
  mma_bf16(d, a, b);
}
__device__ __forceinline__ void mma(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b, Float16) {
  mma_f16(d, a, b);
}

/// Two numbers of a register, each times a weight and rounded again.
template <class T>
__device__ __forceinline__ std::uint32_t weighted(std::uint32_t pair, float low, float high) {
  const T first = narrowed<T>(low * widened(T{static_cast<std::uint16_t>(pair)}));
  const T second = narrowed<T>(high * widened(T{static_cast<std::uint16_t>(pair >> 16)}));
  return first.bits | static_cast<std::uint32_t>(second.bits) << 16;
}

/// sums += left^T diag(weights) right, both (Depth, 32) numbers of 16 bits in shared memory, rows `Row` apart; the
/// weights may be null.
template <class T, int Depth, int Row>
__device__ __forceinline__ void warp_multiply_turned(float (&sums)[2][4][4], const T* left, const T* right,
                                                     const float* weights) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int t = lane % 4;
#pragma unroll
  for (int k = 0; k < Depth; k += 16) {
    std::uint32_t a[2][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_matrices<true>(a[i], left + (k + lane % 8 + lane / 16 * 8) * Row + 16 * i + lane / 8 % 2 * 8);
      load_matrices<true>(b[i], right + (k + lane % 16) * Row + 16 * i + lane / 16 * 8);
    }
    if (weights != nullptr) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float* at = weights + k + 2 * t + e % 4 / 2 * 8;
        a[e / 4][e % 4] = weighted<T>(a[e / 4][e % 4], at[0], at[1]);
      }
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) mma(sums[e / 4][e % 4], a[e / 4], b[e % 4 / 2] + e % 2 * 2, T{});
  }
}

/// sums += left right^T, both (32, Depth) numbers of 16 bits in shared memory, rows `Row` apart.
template <class T, int Depth, int Row>
__device__ __forceinline__ void warp_multiply_along(float (&sums)[2][4][4], const T* left, const T* right) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int k = 0; k < Depth; k += 16) {
    std::uint32_t a[2][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_matrices<false>(a[i], left + (16 * i + lane % 16) * Row + k + lane / 16 * 8);
      load_matrices<false>(b[i], right + (16 * i + lane % 8 + lane / 16 * 8) * Row + k + lane / 8 % 2 * 8);
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) mma(sums[e / 4][e % 4], a[e / 4], b[e % 4 / 2] + e % 2 * 2, T{});
  }
}

#else

struct Tf32 {
  static constexpr bool kPromotes = false;
};
struct Exact {
  static constexpr bool kPromotes = false;
};
struct Bf16 {
  static constexpr bool kPromotes = false;
};

template <class M, int Depth, class Left, class Right>
__device__ __forceinline__ void warp_multiply(float (&sums)[2][4][4], const Left& left, const Right& right) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int k = 0; k < Depth; ++k) {
    float a[4], b[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = left(Lane::row(lane, i / 2 * 16 + i % 2 * 2), k);
#pragma unroll
    for (int j = 0; j < 8; ++j) b[j] = right(k, Lane::column(lane, j / 2 * 4 + j % 2));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i / 2][j / 2][i % 2 * 2 + j % 2] += a[i] * b[j];
    }
  }
}

template <class T, int Depth, int Row>
__device__ __forceinline__ void warp_multiply_turned(float (&sums)[2][4][4], const T* left, const T* right,
                                                     const float* weights) {
  warp_multiply<Tf32, Depth>(
      sums, [=](int i, int k) { return widened(left[k * Row + i]) * (weights == nullptr ? 1.0F : weights[k]); },
      [=](int k, int j) { return widened(right[k * Row + j]); });
}

template <class T, int Depth, int Row>
__device__ __forceinline__ void warp_multiply_along(float (&sums)[2][4][4], const T* left, const T* right) {
  warp_multiply<Tf32, Depth>(
      sums, [=](int i, int k) { return widened(left[i * Row + k]); },
      [=](int k, int j) { return widened(right[j * Row + k]); });
}

#endif

/// body(M{}) with the type of `math`.
template <class Body>
void with_math(Math math, const Body& body) {
  switch (math) {
    case Math::fp32:
      return body(Exact{});
    case Math::tf32:
      return body(Tf32{});
    case Math::bf16:
      return body(Bf16{});
  }
}

// Copies to shared memory that are under way while the block computes: in groups, which `copies_left` waits for.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800 && !defined(STYLOGRAM_EMULATED)

/// 2, 4 or 16 bytes, or as many zeros. Two are not under way: they are there.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (Bytes == 2) {
    *static_cast<std::uint16_t*>(to) = inside ? *static_cast<const std::uint16_t*>(from) : std::uint16_t{0};
  } else if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(inside ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(inside ? 4 : 0)
                 : "memory");
  }
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Left>
__device__ __forceinline__ void copies_left() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

#elif STYLOGRAM_TENSOR_CORES && defined(STYLOGRAM_EMULATED)

template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
  emulator::copy_async(to, from, Bytes, inside);
}
__device__ __forceinline__ void commit_copies() { emulator::commit_copies(); }
template <int Left>
__device__ __forceinline__ void copies_left() {
  emulator::copies_left(Left);
}

#else

template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
  using Part = std::conditional_t<Bytes == 2, std::uint16_t, std::uint32_t>;
#pragma unroll
  for (int i = 0; i < Bytes / static_cast<int>(sizeof(Part)); ++i) {
    static_cast<Part*>(to)[i] = inside ? static_cast<const Part*>(from)[i] : Part{0};
  }
}
__device__ __forceinline__ void commit_copies() {}
template <int Left>
__device__ __forceinline__ void copies_left() {}

#endif

}  // namespace stylogram::cuda
