// Included by micro.cpp once for each instruction set; see micro.h. Needs STYLOGRAM_TARGET, _LANES, _OUTER_ROWS and
// _DOT_ROWS, and undefines them. No include guard, and no include: everything here is compiled for one target.

typedef float Vector __attribute__((vector_size(4 * STYLOGRAM_LANES)));
typedef float Unaligned __attribute__((vector_size(4 * STYLOGRAM_LANES), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16)));
typedef float UnalignedFour __attribute__((vector_size(16), aligned(4), may_alias));

STYLOGRAM_TARGET static inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
STYLOGRAM_TARGET static inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
STYLOGRAM_TARGET static inline void stream(float* to, Vector value) {
#if STYLOGRAM_LANES == 16
  _mm512_stream_ps(to, value);
#elif STYLOGRAM_LANES == 8
  _mm256_stream_ps(to, value);
#else
  store(to, value);
#endif
}

template <int Rows>
STYLOGRAM_TARGET void outer(const float* a, const float* b, std::int64_t k, float* out, std::int64_t stride,
                            Store how) {
  Vector sum[Rows][2] = {};
  for (std::int64_t step = 0; step < k; ++step, a += Rows, b += 2 * STYLOGRAM_LANES) {
    const Vector left = load(b);
    const Vector right = load(b + STYLOGRAM_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      sum[i][0] += a[i] * left;
      sum[i][1] += a[i] * right;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, out += stride) {
    if (how == Store::stream) {
      stream(out, sum[i][0]);
      stream(out + STYLOGRAM_LANES, sum[i][1]);
    } else {
      store(out, how == Store::add ? sum[i][0] + load(out) : sum[i][0]);
      store(out + STYLOGRAM_LANES, how == Store::add ? sum[i][1] + load(out + STYLOGRAM_LANES) : sum[i][1]);
    }
  }
}

// The sums over the lanes of four vectors.
#if STYLOGRAM_LANES == 16
STYLOGRAM_TARGET static inline Four fold(Vector a, Vector b, Vector c, Vector d) {
  // The forms with a full mask: GCC 12 warns of an uninitialised value within the others.
  constexpr __mmask16 all = 0xFFFF;
  const __m512 ab = _mm512_add_ps(_mm512_maskz_unpacklo_ps(all, a, b), _mm512_maskz_unpackhi_ps(all, a, b));
  const __m512 cd = _mm512_add_ps(_mm512_maskz_unpacklo_ps(all, c, d), _mm512_maskz_unpackhi_ps(all, c, d));
  const __m512 sum =
      _mm512_add_ps(_mm512_maskz_shuffle_ps(all, ab, cd, 0x44), _mm512_maskz_shuffle_ps(all, ab, cd, 0xEE));
  const __m256 half =
      _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, sum, 0), _mm512_maskz_extractf32x8_ps(0xFF, sum, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
#elif STYLOGRAM_LANES == 8
STYLOGRAM_TARGET static inline Four fold(Vector a, Vector b, Vector c, Vector d) {
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}
#else
STYLOGRAM_TARGET static inline Four fold(Vector a, Vector b, Vector c, Vector d) {
  Four sum = {};
  for (int lane = 0; lane < STYLOGRAM_LANES; ++lane) sum += Four{a[lane], b[lane], c[lane], d[lane]};
  return sum;
}
#endif

template <int Rows>
STYLOGRAM_TARGET void dot(const float* a, const float* b, std::int64_t k, std::int64_t stride, float* tile) {
  constexpr int groups = (Rows * Rows + 3) / 4;
  Vector sum[4 * groups] = {};
  for (std::int64_t step = 0; step < k; step += STYLOGRAM_LANES, a += STYLOGRAM_LANES, b += STYLOGRAM_LANES) {
    Vector columns[Rows];
#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j) columns[j] = load(b + j * stride);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector row = load(a + i * stride);
#pragma GCC unroll 8
      for (int j = 0; j < Rows; ++j) sum[i * Rows + j] += row * columns[j];
    }
  }
#pragma GCC unroll 8
  for (int group = 0; group < groups; ++group) {
    UnalignedFour* to = reinterpret_cast<UnalignedFour*>(tile + 4 * group);
    *to += fold(sum[4 * group], sum[4 * group + 1], sum[4 * group + 2], sum[4 * group + 3]);
  }
}

STYLOGRAM_TARGET static void copy(const float* from, const float* ahead, std::int64_t pieces, float* to,
                                  std::int64_t stride) {
  for (; pieces > 0; --pieces, from += 2 * STYLOGRAM_LANES, ahead += 2 * STYLOGRAM_LANES, to += stride) {
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + STYLOGRAM_LANES);
    store(to, load(from));
    store(to + STYLOGRAM_LANES, load(from + STYLOGRAM_LANES));
  }
}

template <int Rows>
constexpr MicroKernels::Outer outer_or_none() {
  if constexpr (Rows <= STYLOGRAM_OUTER_ROWS) {
    return outer<Rows>;
  } else {
    return nullptr;
  }
}

static const MicroKernels table = {
    STYLOGRAM_LANES,
    STYLOGRAM_OUTER_ROWS,
    2 * STYLOGRAM_LANES,
    STYLOGRAM_DOT_ROWS,
    (STYLOGRAM_DOT_ROWS * STYLOGRAM_DOT_ROWS + 3) / 4 * 4,
    {nullptr, outer_or_none<1>(), outer_or_none<2>(), outer_or_none<3>(), outer_or_none<4>(), outer_or_none<5>(),
     outer_or_none<6>(), outer_or_none<7>(), outer_or_none<8>(), outer_or_none<9>(), outer_or_none<10>(),
     outer_or_none<11>(), outer_or_none<12>(), outer_or_none<13>(), outer_or_none<14>()},
    dot<STYLOGRAM_DOT_ROWS>,
    copy,
};

#undef STYLOGRAM_TARGET
#undef STYLOGRAM_LANES
#undef STYLOGRAM_OUTER_ROWS
#undef STYLOGRAM_DOT_ROWS
