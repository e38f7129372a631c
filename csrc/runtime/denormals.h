// Denormals are zero in this thread while the object lives: ONNX Runtime's convolutions want it, the program's own
// arithmetic may not.
#pragma once

#if defined(__SSE2__)
#include <pmmintrin.h>
#include <xmmintrin.h>
#endif

namespace stylogram::runtime {

#if defined(__SSE2__)
class Flushing {
 public:
  Flushing() : before_(_mm_getcsr()) { _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON); }
  ~Flushing() { _mm_setcsr(before_); }
  Flushing(const Flushing&) = delete;
  Flushing& operator=(const Flushing&) = delete;

 private:
  unsigned before_;
};
#else
struct Flushing {
  Flushing() {}  // not trivial, or the compiler calls the object unused
};
#endif

}  // namespace stylogram::runtime
