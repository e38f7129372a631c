// Included by transforms.inl: vectors of STYLOGRAM_LANES floats, loads and stores of some of
// their lanes, and taking rows of pixels apart. No include guard, and no include.

#if defined(__clang__)
#define STYLOGRAM_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define STYLOGRAM_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif

typedef float Vector __attribute__((vector_size(4 * STYLOGRAM_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * STYLOGRAM_LANES)));
typedef std::uint8_t Bytes __attribute__((vector_size(STYLOGRAM_LANES)));
typedef float Unaligned __attribute__((vector_size(4 * STYLOGRAM_LANES), aligned(4), may_alias));
typedef std::uint8_t UnalignedBytes __attribute__((vector_size(STYLOGRAM_LANES), aligned(1), may_alias));

constexpr std::int64_t kLanes = STYLOGRAM_LANES;

STYLOGRAM_TARGET static inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
STYLOGRAM_TARGET static inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

STYLOGRAM_TARGET static inline std::int64_t within(std::int64_t lane) {
  return lane < 0 ? 0 : lane > kLanes ? kLanes : lane;
}

// Some neighbouring lanes: loads give 0 elsewhere and read nothing there, stores write nothing there.
#if STYLOGRAM_LANES == 16
struct Mask {
  __mmask16 bits;
};
STYLOGRAM_TARGET static inline Mask lanes(std::int64_t begin, std::int64_t end) {
  const std::int64_t first = within(begin);
  const std::int64_t last = within(end);
  return {static_cast<__mmask16>(last <= first ? 0 : ((1U << last) - 1) & ~((1U << first) - 1))};
}
STYLOGRAM_TARGET static inline Vector load(const float* from, Mask mask) {
  return _mm512_maskz_loadu_ps(mask.bits, from);
}
STYLOGRAM_TARGET static inline void store(float* to, Vector value, Mask mask) {
  _mm512_mask_storeu_ps(to, mask.bits, value);
}
STYLOGRAM_TARGET static inline Ints load_bytes(const std::uint8_t* from, Mask mask) {
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_maskz_loadu_epi8(mask.bits, from)));
}
STYLOGRAM_TARGET static inline void store_bytes(std::uint8_t* to, Ints value, Mask mask) {
  _mm512_mask_cvtepi32_storeu_epi8(to, mask.bits, reinterpret_cast<__m512i>(value));
}
#else
struct Mask {
  std::int64_t begin, end;
#if STYLOGRAM_LANES == 8
  __m256i bits;
#endif
  STYLOGRAM_TARGET bool all() const { return begin == 0 && end == kLanes; }
};
STYLOGRAM_TARGET static inline Mask lanes(std::int64_t begin, std::int64_t end) {
  Mask mask = {};
  mask.begin = within(begin);
  mask.end = within(end);
#if STYLOGRAM_LANES == 8
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i low = _mm256_set1_epi32(static_cast<int>(mask.begin));
  const __m256i high = _mm256_set1_epi32(static_cast<int>(mask.end));
  mask.bits = _mm256_andnot_si256(_mm256_cmpgt_epi32(low, lane), _mm256_cmpgt_epi32(high, lane));
#endif
  return mask;
}
#if STYLOGRAM_LANES == 8
STYLOGRAM_TARGET static inline Vector load(const float* from, const Mask& mask) {
  return _mm256_maskload_ps(from, mask.bits);
}
STYLOGRAM_TARGET static inline void store(float* to, Vector value, const Mask& mask) {
  if (mask.all()) return store(to, value);
  _mm256_maskstore_ps(to, mask.bits, value);
}
#else
static inline Vector load(const float* from, const Mask& mask) {
  if (mask.all()) return load(from);
  Vector value = {};
  for (std::int64_t lane = mask.begin; lane < mask.end; ++lane) value[lane] = from[lane];
  return value;
}
static inline void store(float* to, Vector value, const Mask& mask) {
  if (mask.all()) return store(to, value);
  for (std::int64_t lane = mask.begin; lane < mask.end; ++lane) to[lane] = value[lane];
}
#endif
STYLOGRAM_TARGET static inline Ints load_bytes(const std::uint8_t* from, const Mask& mask) {
  Bytes value = {};
  if (mask.all()) {
    value = *reinterpret_cast<const UnalignedBytes*>(from);
  } else {
    for (std::int64_t lane = mask.begin; lane < mask.end; ++lane) value[lane] = from[lane];
  }
  return __builtin_convertvector(value, Ints);
}
STYLOGRAM_TARGET static inline void store_bytes(std::uint8_t* to, Ints value, const Mask& mask) {
  const Bytes bytes = __builtin_convertvector(value, Bytes);
  if (mask.all()) {
    *reinterpret_cast<UnalignedBytes*>(to) = bytes;
  } else {
    for (std::int64_t lane = mask.begin; lane < mask.end; ++lane) to[lane] = bytes[lane];
  }
}
#endif

// even, odd: every other lane of a, then of b. zip: lanes of a and b by turns, of the lower or upper halves.
// after: a without its first lane, then the lane 0 or 1 of b. twice: each lane of a two times, from lane 0 once or
// twice.
#if STYLOGRAM_LANES == 16
#define STYLOGRAM_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define STYLOGRAM_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define STYLOGRAM_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define STYLOGRAM_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define STYLOGRAM_AFTER 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define STYLOGRAM_TWICE 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7
#define STYLOGRAM_ONCE_THEN_TWICE 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8
#define STYLOGRAM_BY_TURNS 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1
#elif STYLOGRAM_LANES == 8
#define STYLOGRAM_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define STYLOGRAM_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define STYLOGRAM_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define STYLOGRAM_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define STYLOGRAM_AFTER 1, 2, 3, 4, 5, 6, 7
#define STYLOGRAM_TWICE 0, 0, 1, 1, 2, 2, 3, 3
#define STYLOGRAM_ONCE_THEN_TWICE 0, 1, 1, 2, 2, 3, 3, 4
#define STYLOGRAM_BY_TURNS 0, 1, 0, 1, 0, 1, 0, 1
#else
#define STYLOGRAM_EVEN 0, 2, 4, 6
#define STYLOGRAM_ODD 1, 3, 5, 7
#define STYLOGRAM_ZIP_LOW 0, 4, 1, 5
#define STYLOGRAM_ZIP_HIGH 2, 6, 3, 7
#define STYLOGRAM_AFTER 1, 2, 3
#define STYLOGRAM_TWICE 0, 0, 1, 1
#define STYLOGRAM_ONCE_THEN_TWICE 0, 1, 1, 2
#define STYLOGRAM_BY_TURNS 0, 1, 0, 1
#endif

template <class T>
STYLOGRAM_TARGET static inline T even(T a, T b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_EVEN);
}
template <class T>
STYLOGRAM_TARGET static inline T odd(T a, T b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_ODD);
}
template <class T>
STYLOGRAM_TARGET static inline T zip_low(T a, T b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_ZIP_LOW);
}
template <class T>
STYLOGRAM_TARGET static inline T zip_high(T a, T b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_ZIP_HIGH);
}
STYLOGRAM_TARGET static inline Vector after(Vector a, Vector b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_AFTER, STYLOGRAM_LANES);
}
STYLOGRAM_TARGET static inline Vector after_second(Vector a, Vector b) {
  return STYLOGRAM_SHUFFLE(a, b, STYLOGRAM_AFTER, STYLOGRAM_LANES + 1);
}
template <class T>
STYLOGRAM_TARGET static inline T twice(T a, bool once) {
  return once ? STYLOGRAM_SHUFFLE(a, a, STYLOGRAM_ONCE_THEN_TWICE) : STYLOGRAM_SHUFFLE(a, a, STYLOGRAM_TWICE);
}

STYLOGRAM_TARGET static inline Vector positive(Vector value) {
  const Vector zero = {};
  return zero > value ? zero : value;  // a NaN stays one: the loss has to show it
}

#undef STYLOGRAM_SHUFFLE
#undef STYLOGRAM_EVEN
#undef STYLOGRAM_ODD
#undef STYLOGRAM_ZIP_LOW
#undef STYLOGRAM_ZIP_HIGH
#undef STYLOGRAM_AFTER
#undef STYLOGRAM_TWICE
#undef STYLOGRAM_ONCE_THEN_TWICE
