#include "ops/matmul.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

void matmul(const py::object& a, const py::object& b, const py::object& out) {
  Arguments arguments("matmul");
  const View left = arguments.array("a", a, "(M, K)");
  const View right = arguments.array("b", b, "(K, N)");
  check(left[1] == right[0], "matmul", "a's K must be b's, got ", text(left.shape), " and ", text(right.shape));
  const View result = arguments.array_like("out", out, {left[0], right[1]}, Access::write);
  const py::gil_scoped_release release;
  ops::matmul(left[0], left[1], right[1], left.floats(), right.floats(), result.floats(), arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "matmul"), matmul, py::arg("a"), py::arg("b"), py::arg("out"));
});

}  // namespace
}  // namespace stylogram::bindings
