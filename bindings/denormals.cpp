// Flush-to-zero of the calling thread: ONNX Runtime's convolutions want it, the embedding program's arithmetic may not.
#if defined(__SSE2__)
#include <pmmintrin.h>
#include <xmmintrin.h>
#endif

#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

#if defined(__SSE2__)
// Flush results to zero, and read denormal inputs as zero.
constexpr unsigned kBits = _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON;

bool flush_denormals(bool on) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(on ? before | kBits : before & ~kBits);
  return (before & kBits) == kBits;
}
#else
bool flush_denormals(bool) { return false; }
#endif

const Registration here([](py::module_& m) { m.def(unique(m, "flush_denormals"), flush_denormals, py::arg("on")); });

}  // namespace
}  // namespace stylogram::bindings
