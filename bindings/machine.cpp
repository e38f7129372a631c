// Threads and instruction sets.
#include "parallel.h"
#include "registry.h"
#include "simd.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

py::list simd_levels() {
  py::list names;
  for (const simd::Level level : simd::levels()) names.append(simd::name(level));
  return names;
}

const Registration here([](py::module_& m) {
  simd::level();  // an unknown STYLOGRAM_SIMD is an error when the module is imported
  m.def(unique(m, "threads"), threads);
  m.def(unique(m, "set_threads"), set_threads, py::arg("count"));
  m.def(unique(m, "simd"), [] { return simd::name(simd::level()); });
  m.def(unique(m, "simd_levels"), simd_levels);
  m.def(unique(m, "set_simd"), simd::set_level, py::arg("level"));
});

}  // namespace
}  // namespace stylogram::bindings
