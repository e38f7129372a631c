// What tensor cores and their loads do, by the PTX manual: every lane computes its own numbers from what all lanes
// hold.
#include "cuda/narrow.h"
#include "cuda_runtime.h"
#include "races.h"

namespace emulator {

// Rounded to nearest, ties away from zero: cvt.rna.
std::uint32_t to_tf32(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (!isfinite(x)) return bits;
  return (bits + 0x1000U) & ~0x1fffU;
}

float from_tf32(std::uint32_t x) {
  float value;
  std::memcpy(&value, &x, 4);
  return value;
}

namespace {

// Rounded to nearest even: cvt.rn.
std::uint32_t to_bf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return 0x7fff;
  return (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
}

// The operands of all lanes.
struct Operands {
  std::uint32_t a[4], b[2];
};

constexpr int kFraction = 24;

// The sum as tensor cores have it: terms are cut off at 24 bits behind the largest one's first, and the sum is rounded
// to zero. So on Ampere; Hopper has a bit more. (Fasi, Higham, Mikaitis and Pranesh 2021, "Numerical behavior of NVIDIA
// tensor cores", PeerJ Computer Science 7:e330.)
float added(const double* terms, int count) {
  double largest = 0, sum = 0;
  for (int i = 0; i < count; ++i) {
    sum += terms[i];
    largest = fmax(largest, fabs(terms[i]));
  }
  if (largest == 0 || !isfinite(sum)) return static_cast<float>(sum);
  const double unit = ldexp(1.0, ilogb(largest) - kFraction);
  sum = 0;
  for (int i = 0; i < count; ++i) sum += trunc(terms[i] / unit);
  sum *= unit;
  const auto nearest = static_cast<float>(sum);
  return fabs(static_cast<double>(nearest)) > fabs(sum) ? nextafterf(nearest, 0.0F) : nearest;
}

template <class A, class B>
void multiply(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b, int depth, const A& left, const B& right) {
  Operands mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  const auto* all = static_cast<const Operands*>(exchange(&mine, sizeof(mine)));
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4 + e / 2 * 8;
    const int column = lane % 4 * 2 + e % 2;
    double terms[17] = {static_cast<double>(d[e])};
    for (int k = 0; k < depth; ++k) {
      terms[k + 1] = static_cast<double>(left(all, row, k)) * static_cast<double>(right(all, k, column));
    }
    d[e] = added(terms, depth + 1);
  }
}

}  // namespace

std::uint32_t to_bf16x2(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

// PTX ISA, mma.m16n8k8, .tf32: a0 (g, t), a1 (g + 8, t), a2 (g, t + 4), a3 (g + 8, t + 4); b0 (t, g), b1 (t + 4, g).
void mma_tf32(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  multiply(
      d, a, b, 8,
      [](const Operands* all, int row, int k) {
        return from_tf32(all[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2] & ~0x1fffU);
      },
      [](const Operands* all, int k, int column) { return from_tf32(all[column * 4 + k % 4].b[k / 4] & ~0x1fffU); });
}

namespace {

// PTX ISA, mma.m16n8k16: a0 (g, 2t..), a1 (g + 8, 2t..), a2 (g, 2t + 8..), a3 (g + 8, 2t + 8..); b0 (2t.., g),
// b1 (2t + 8.., g); the lower half of a register has the lower k.
template <class T>
void multiply_halves(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  const auto half = [](std::uint32_t pair, int which) {
    return stylogram::cuda::widened(T{static_cast<std::uint16_t>(pair >> (16 * which))});
  };
  multiply(
      d, a, b, 16,
      [=](const Operands* all, int row, int k) {
        return half(all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
      },
      [=](const Operands* all, int k, int column) { return half(all[column * 4 + k % 8 / 2].b[k / 8], k % 2); });
}

}  // namespace

void mma_bf16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  multiply_halves<stylogram::cuda::BFloat16>(d, a, b);
}
void mma_f16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b) {
  multiply_halves<stylogram::cuda::Float16>(d, a, b);
}

// PTX ISA, ldmatrix.m8n8.x4: lanes 8 m to 8 m + 7 name the rows of matrix m; lane l gets of each matrix the row l / 4,
// columns 2 (l % 4) and the next; with .trans those of the transposed matrix.
void load_matrices(std::uint32_t (&d)[4], const void* row, bool turned) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) stop("a row of a matrix begins at a multiple of 16 bytes");
  struct Row {
    std::uint16_t v[8];
  } mine;
  races::access(row, sizeof(mine), false, __builtin_return_address(0));
  std::memcpy(&mine, row, sizeof(mine));
  const auto* rows = static_cast<const Row*>(exchange(&mine, sizeof(mine)));
  const int line = static_cast<int>(threadIdx.x % 32) / 4;
  for (int m = 0; m < 4; ++m) {
    std::uint32_t pair[2];
    for (int e = 0; e < 2; ++e) {
      const int place = static_cast<int>(threadIdx.x % 4) * 2 + e;
      pair[e] = turned ? rows[8 * m + place].v[line] : rows[8 * m + line].v[place];
    }
    d[m] = pair[0] | pair[1] << 16;
  }
}

}  // namespace emulator
