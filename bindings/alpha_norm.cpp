#include "ops/alpha_norm.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

void alpha_norm(const py::object& picture, double alpha, double scale, double shift, const py::object& gradient,
                const py::object& value) {
  Arguments arguments("alpha_norm");
  const View x = arguments.array("picture", picture, "(N, D)");
  ops::AlphaNorm norm{x[0], x[1], x.floats(), alpha, scale, shift, nullptr, nullptr};
  norm.gradient = arguments.array_like("gradient", gradient, x.shape, Access::write).floats();
  norm.value = arguments.array_like("value", value, {x[0]}, Access::write, Type::float64).doubles();
  const py::gil_scoped_release release;
  ops::alpha_norm(norm, arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "alpha_norm"), alpha_norm, py::arg("picture"), py::arg("alpha"), py::arg("scale"), py::arg("shift"),
        py::arg("gradient"), py::arg("value"));
});

}  // namespace
}  // namespace stylogram::bindings
